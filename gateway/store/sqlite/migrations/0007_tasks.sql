-- What was good for one use only, and has been used; a row is of no use any more once `until_ms` is over.
CREATE TABLE spent (
    id TEXT NOT NULL PRIMARY KEY,
    until_ms INTEGER NOT NULL
);
CREATE INDEX spent_by_age ON spent (until_ms);
-- The MCP tasks that calls became, by the id that their clients know them by.
CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY,
    call_id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX tasks_by_owner ON tasks (owner);
CREATE INDEX tasks_open ON tasks (until_ms) WHERE is_open = 1;
CREATE INDEX tasks_by_age ON tasks (until_ms);
