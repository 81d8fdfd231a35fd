-- What an operator has stopped. Each row stands for the event of the chain that put it there.
CREATE TABLE pauses (
    scope TEXT NOT NULL PRIMARY KEY,
    since_ms INTEGER NOT NULL,
    by_whom TEXT NOT NULL,
    reason TEXT NOT NULL
);
