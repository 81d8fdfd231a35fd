"""First-party connectors. They see only `gateway.connector`, like anybody else's."""
