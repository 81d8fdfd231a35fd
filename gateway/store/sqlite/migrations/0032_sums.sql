-- Of the tables whose rows no event tells of: what the rows there are add up to, under the gateway's own key.
CREATE TABLE sums (
    name TEXT NOT NULL PRIMARY KEY,
    kept TEXT NOT NULL,
    seal TEXT NOT NULL
) WITHOUT ROWID;
