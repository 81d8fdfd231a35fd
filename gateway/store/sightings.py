"""Who was seen: what the inventory of agents asks of storage, and how two sightings of one become one line of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AgentInventory", "AgentSighting", "merged"]


@dataclass(frozen=True, slots=True)
class AgentSighting:
    """One line of the agent inventory. `known` is False for refused callers; `tools` counts calls per tool."""

    agent: str
    known: bool
    last_seen_ms: int
    client_name: str = ""
    client_version: str = ""
    calls: int = 0
    refused: int = 0
    tools: tuple[tuple[str, int], ...] = ()


class AgentInventory(Protocol):
    """Which agents were seen; derived data, written lazily and in bulk."""

    async def saw_agents(self, sightings: Sequence[AgentSighting]) -> None:
        """Merge sightings: counts add up, the newest name, version and time win."""
        ...

    async def agents_seen(self) -> list[AgentSighting]:
        """Return the inventory, newest first."""
        ...


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
