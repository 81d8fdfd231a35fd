-- A call in doubt whose end a person settled: `end_seq` is the settling, `doubted_seq` the ending that left it in doubt.
ALTER TABLE calls ADD COLUMN doubted_seq INTEGER;
