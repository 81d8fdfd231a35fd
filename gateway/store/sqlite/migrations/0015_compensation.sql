-- A call whose effect another call took back: `end_seq` is the event that says so, `undone_seq` the ending it had.
ALTER TABLE calls ADD COLUMN undone_seq INTEGER;
