"""Who is there, in memory: sessions and sightings; the same promises as any other store's."""

from collections.abc import Sequence

from gateway.store.ports import SessionRecord
from gateway.store.sightings import AgentSighting, merged

__all__ = ["MemorySessions"]


class MemorySessions:
    """The part of a memory store that keeps clients' sessions and the inventory of agents."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, SessionRecord] = {}
        self._sightings: dict[tuple[str, bool], AgentSighting] = {}

    async def saw_agents(self, sightings: Sequence[AgentSighting]) -> None:
        for sighting in sightings:
            line = sighting.agent, sighting.known
            self._sightings[line] = merged(self._sightings.get(line), sighting)

    async def agents_seen(self) -> list[AgentSighting]:
        return sorted(self._sightings.values(), key=lambda s: (-s.last_seen_ms, s.agent, s.known))

    async def put_session(self, session: SessionRecord) -> None:
        self._sessions[session.id] = session

    async def find_session(self, session_id: str) -> SessionRecord | None:
        return self._sessions.get(session_id)

    async def end_session(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    async def forget_sessions(self, before_ms: int) -> int:
        old = [each.id for each in self._sessions.values() if each.seen_ms < before_ms]
        for session_id in old:
            del self._sessions[session_id]
        return len(old)

    async def adopt_rows(self) -> None:
        """Do nothing: nobody else can change what is in memory."""
