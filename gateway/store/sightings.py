"""How two sightings of one agent become one line of the inventory."""

from collections import Counter

from gateway.store.ports import AgentSighting

__all__ = ["merged"]


def merged(seen: AgentSighting | None, now: AgentSighting) -> AgentSighting:
    """Return both as one: counts add up; the newest time wins, and the newest name and version that were given."""
    if seen is None:
        return now
    newer, older = (now, seen) if now.last_seen_ms >= seen.last_seen_ms else (seen, now)
    tools = Counter(dict(seen.tools))
    tools.update(dict(now.tools))
    return AgentSighting(
        agent=now.agent,
        known=now.known,
        last_seen_ms=newer.last_seen_ms,
        client_name=newer.client_name or older.client_name,
        client_version=newer.client_version if newer.client_name else older.client_version,
        calls=seen.calls + now.calls,
        refused=seen.refused + now.refused,
        tools=tuple(sorted(tools.items())),
    )
