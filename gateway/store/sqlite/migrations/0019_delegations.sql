-- Who handed on what to whom is in the events alone.
CREATE INDEX events_of_delegations ON events (seq) WHERE kind IN ('agent.delegated', 'agent.withdrawn');
