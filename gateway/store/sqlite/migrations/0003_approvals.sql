-- An index of approvals: everything in it follows from the events whose call id is the approval's.
CREATE TABLE approvals (
    id TEXT NOT NULL PRIMARY KEY,
    asked_seq INTEGER NOT NULL,
    binding TEXT NOT NULL,
    standing INTEGER NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    used INTEGER NOT NULL,
    most INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    last_seq INTEGER NOT NULL
);
CREATE INDEX approvals_by_binding ON approvals (binding, asked_seq);
CREATE INDEX approvals_open ON approvals (until_ms) WHERE state IN ('pending', 'approved') AND used < most;
