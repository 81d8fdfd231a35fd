"""Tokens and pauses in memory: the same promises as any other store's, for as long as the process lives."""

from dataclasses import replace

from gateway.model.errors import StoreFault
from gateway.store.bodies import pause_event
from gateway.store.memory_chain import MemoryChain
from gateway.store.ports import EventKind, PauseRecord, TokenRecord
from gateway.store.row_events import issued, revoked

__all__ = ["MemoryPauses", "MemoryTokens"]


class MemoryTokens(MemoryChain):
    """The part of a memory store that keeps the API tokens."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[str, TokenRecord] = {}

    async def put_token(self, token: TokenRecord, *, by: str = "") -> None:
        if token.id in self._tokens:
            raise StoreFault("The token cannot be stored.", detail=f"token {token.id} exists already")
        self._tokens[token.id] = token
        self._append(*issued(token, by))

    async def revoke_tokens(self, agent: str, at_ms: int, *, keep: str = "", by: str = "") -> list[str]:
        live = [
            replace(token, revoked_ms=at_ms)
            for _, token in sorted(self._tokens.items())
            if token.agent == agent and token.id != keep and (token.revoked_ms is None or token.revoked_ms > at_ms)
        ]
        self._tokens |= {token.id: token for token in live}
        if live or not keep:
            self._append(*revoked(agent, live, at_ms, by))
        return [token.id for token in live]

    async def tokens(self) -> list[TokenRecord]:
        return sorted(self._tokens.values(), key=lambda token: (token.created_ms, token.id))


class MemoryPauses(MemoryChain):
    """The part of a memory store that knows what is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self._pauses: dict[str, PauseRecord] = {}

    async def put_pause(self, pause: PauseRecord) -> None:
        self._pauses[pause.scope] = pause
        self._tell(pause, "paused")

    async def end_pause(self, pause: PauseRecord) -> bool:
        if self._pauses.pop(pause.scope, None) is None:
            return False
        self._tell(pause, "unpaused")
        return True

    async def pauses(self) -> list[PauseRecord]:
        return sorted(self._pauses.values(), key=lambda pause: (pause.since_ms, pause.scope))

    def _tell(self, pause: PauseRecord, deed: str) -> None:
        told, body = pause_event(pause, deed)
        self._append((pause.since_ms, EventKind.ADMIN, "", *told), body)
