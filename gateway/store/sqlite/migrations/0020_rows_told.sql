-- From here on every change of a row of tokens, spent, tasks and run_places is an event; the rows there are become one.
-- How many calls each run holds, counted anew: from now on it has to be what the events say.
DELETE FROM run_steps;
INSERT INTO run_steps (run_id, steps)
SELECT run_id, count(*) FROM events WHERE kind IN ('call.claimed', 'call.recorded') GROUP BY run_id;
