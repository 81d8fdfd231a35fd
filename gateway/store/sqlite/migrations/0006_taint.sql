-- What follows a run or a principal is what the last of these events about it says.
CREATE INDEX events_of_taint_by_run ON events (run_id) WHERE kind IN ('taint.marked', 'taint.cleared');
CREATE INDEX events_of_taint_by_principal ON events (agent, on_behalf_of)
WHERE kind IN ('taint.marked', 'taint.cleared');
