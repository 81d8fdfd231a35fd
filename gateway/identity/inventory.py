"""Which agents are running: seen in memory, written to the store every few seconds."""

from dataclasses import dataclass, field
from typing import Final

from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.model.identity import ANONYMOUS_AGENT, ClientInfo, Identity
from gateway.store.sightings import AgentInventory, AgentSighting

__all__ = ["FLUSH_S", "OTHER_TOOLS", "Inventory"]

FLUSH_S: Final = 3.0
OTHER_TOOLS: Final = "(other)"
_MAX_TOOLS: Final = 500
_MAX_TEXT: Final = 100


@dataclass(slots=True)
class _Tally:
    known: bool
    last_seen_ms: int = 0
    client: ClientInfo = field(default_factory=ClientInfo)
    calls: int = 0
    refused: int = 0
    tools: dict[str, int] = field(default_factory=dict)


class Inventory:
    """Collects sightings. Memory is bounded by the number of registered agents and of their tools.

    All callers that were not identified share one line, `unknown`, that is flagged as not known.
    """

    def __init__(self, store: AgentInventory, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tallies: dict[str, _Tally] = {}

    def saw(
        self,
        identity: Identity | None,
        client: ClientInfo,
        tool: str = "",
        *,
        refused: bool = False,
        at_ms: int | None = None,
    ) -> None:
        """Note a request: `identity` None for a caller nobody knows, `tool` empty for anything but a call.

        It came in `at_ms`, or just now.
        """
        agent = identity.agent if identity is not None else ANONYMOUS_AGENT
        tally = self._tallies.get(agent)
        if tally is None:
            tally = self._tallies[agent] = _Tally(known=identity is not None)
        came_ms = self._clock.now_ms() if at_ms is None else at_ms
        tally.last_seen_ms = max(tally.last_seen_ms, came_ms)  # what came later may have ended before
        if refused:
            tally.refused += 1
        if client.name:
            tally.client = client
        if tool:
            tally.calls += 1
            if identity is not None:  # a stranger's tool names are a stranger's text
                tools = tally.tools
                if tool in tools:
                    tools[tool] += 1
                else:
                    name = tool if len(tools) < _MAX_TOOLS else OTHER_TOOLS
                    tools[name] = tools.get(name, 0) + 1

    async def flush(self) -> None:
        """Write what was seen.

        Raises:
            StoreFault: it cannot be written; what was seen is kept for the next time.
        """
        if not self._tallies:
            return
        taken, self._tallies = self._tallies, {}
        try:
            await self._store.saw_agents([_sighting(agent, tally) for agent, tally in taken.items()])
        except StoreFault:
            for agent, tally in taken.items():
                self._put_back(agent, tally)
            raise

    async def watch(self) -> None:
        """Write every FLUSH_S seconds until cancelled; a store that cannot be written is tried again."""
        while True:
            await self._clock.sleep(FLUSH_S)
            try:
                await self.flush()
            except StoreFault:
                continue

    def _put_back(self, agent: str, older: _Tally) -> None:
        newer = self._tallies.get(agent)
        if newer is None:
            self._tallies[agent] = older
            return
        newer.calls += older.calls
        newer.refused += older.refused
        newer.client = newer.client if newer.client.name else older.client
        for tool, count in older.tools.items():
            newer.tools[tool] = newer.tools.get(tool, 0) + count


def _sighting(agent: str, tally: _Tally) -> AgentSighting:
    return AgentSighting(
        agent=agent,
        known=tally.known,
        last_seen_ms=tally.last_seen_ms,
        client_name=_printable(tally.client.name),
        client_version=_printable(tally.client.version),
        calls=tally.calls,
        refused=tally.refused,
        tools=tuple(sorted(tally.tools.items())),
    )


def _printable(text: str) -> str:
    return "".join(c for c in text[:_MAX_TEXT] if c.isprintable())
