-- The hash chain. Bodies come last: a row's index columns are read without touching their pages.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    call_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    on_behalf_of TEXT NOT NULL,
    tool TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX events_by_time ON events (at_ms);
-- The events of claimed calls are found through their rows.
CREATE INDEX events_by_call ON events (call_id) WHERE kind NOT IN ('call.claimed', 'call.finished');
CREATE INDEX events_by_run ON events (run_id) WHERE kind NOT IN ('call.claimed', 'call.finished');

-- One row: where the chain ends, so that a missing tail is found.
CREATE TABLE chain_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO chain_head (id, seq, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- An index of, and the locks on, claimed calls; everything but `delivered` can be rebuilt from the events.
CREATE TABLE calls (
    claim_seq INTEGER PRIMARY KEY,
    call_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    session TEXT NOT NULL,
    agent TEXT NOT NULL,
    on_behalf_of TEXT NOT NULL,
    tool TEXT NOT NULL,
    arguments_digest TEXT NOT NULL,
    step_key TEXT,
    started_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    ended_ms INTEGER,
    end_seq INTEGER,
    key_until INTEGER,
    consumed_by TEXT,
    delivered INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX calls_by_live_key ON calls (agent, tool, step_key) WHERE step_key IS NOT NULL AND key_until IS NULL;
CREATE INDEX calls_by_run ON calls (run_id);
CREATE INDEX calls_unfinished ON calls (claim_seq) WHERE end_seq IS NULL;
CREATE INDEX calls_by_consumer ON calls (consumed_by) WHERE consumed_by IS NOT NULL;

CREATE TABLE runs (
    opened_seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    source TEXT NOT NULL,
    status TEXT NOT NULL,
    opened_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX runs_open ON runs (owner, key) WHERE status = 'open';

-- How many calls each run holds, so that asking stays cheap in a long run.
CREATE TABLE run_steps (
    run_id TEXT NOT NULL PRIMARY KEY,
    steps INTEGER NOT NULL
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    agent TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER
);
CREATE INDEX tokens_by_agent ON tokens (agent);

CREATE TABLE sightings (
    agent TEXT NOT NULL,
    known INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    client_name TEXT NOT NULL,
    client_version TEXT NOT NULL,
    calls INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    tools TEXT NOT NULL,
    PRIMARY KEY (agent, known)
);
