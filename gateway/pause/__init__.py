"""The kill switch: an operator stops everything, a team, an agent, a server, a tool or a run, until told otherwise."""
