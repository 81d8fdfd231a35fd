-- What was used up of each budget in each part of time, in millionths; it follows from the events of claims and endings.
CREATE TABLE budget_counters (
    key TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    PRIMARY KEY (key, start_ms)
) WITHOUT ROWID;
