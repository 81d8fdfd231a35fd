-- Where a caller's conversation goes on, where it was said. Nothing is decided by it: a run is its owner's anyway.
CREATE TABLE run_places (
    owner TEXT NOT NULL,
    place TEXT NOT NULL,
    run_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, place)
);
CREATE INDEX run_places_by_age ON run_places (at_ms);
-- What became of a run is in the events alone. `calls.delivered` is the attempt at the run in which its answer arrived.
CREATE INDEX events_of_runs ON events (run_id, seq) WHERE kind IN ('run.begun', 'run.cancelled');
CREATE INDEX events_changing_runs ON events (seq) WHERE kind IN ('run.begun', 'run.cancelled');
CREATE INDEX runs_by_key ON runs (owner, key, opened_seq);
