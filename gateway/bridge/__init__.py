"""The stdio entry: a small relay between a host's pipes and the running gateway, standard library only.

It answers in a fraction of a second because it imports neither the SDK nor the rest of the gateway (USERS.md §1.7).
"""

from gateway.bridge.stdio import main

__all__ = ["main"]
