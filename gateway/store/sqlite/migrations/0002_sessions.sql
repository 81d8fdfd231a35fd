-- What a client session of the handshake eras holds, so that it outlives the gateway's process.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    seen_ms INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX sessions_by_age ON sessions (seen_ms);
