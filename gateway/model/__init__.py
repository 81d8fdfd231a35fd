"""Frozen values every layer shares. Standard library only; imports nothing of the gateway."""
