"""Runs: which calls belong together."""
