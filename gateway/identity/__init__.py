"""Who is calling: API tokens, JWTs, the local key of a stdio bridge, and the inventory of who was seen."""
