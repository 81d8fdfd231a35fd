"""The gateway's own secrets: an encrypted store, and the references to it in a configuration."""
