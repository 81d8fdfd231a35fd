-- What the bodies of many events end with, written once. `uses` counts the events that name it; the last one takes it along.
CREATE TABLE shares (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    uses INTEGER NOT NULL,
    body TEXT NOT NULL
);
ALTER TABLE events ADD COLUMN shared INTEGER;
-- Who asks for unfinished calls does so once, at the start, where the whole ledger is read anyway.
DROP INDEX calls_unfinished;
