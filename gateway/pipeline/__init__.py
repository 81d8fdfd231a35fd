"""The policy enforcement point: walks one call through the stages."""
