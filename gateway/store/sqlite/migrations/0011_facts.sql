-- An index of facts: event `seq` says what each of them is. One that was deleted keeps its row, so that versions count on.
CREATE TABLE facts (
    scope TEXT NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    gone INTEGER NOT NULL,
    PRIMARY KEY (scope, owner, name)
) WITHOUT ROWID;
-- Which event of a fact is the last one, so that a row cannot be turned back to an older one unseen.
CREATE INDEX events_by_fact ON events (
    json_extract(body, '$.fact.scope'), json_extract(body, '$.fact.owner'), json_extract(body, '$.fact.name')
) WHERE kind IN ('fact.put', 'fact.deleted');
