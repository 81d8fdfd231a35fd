"""Keeping a server's notices coming: subscriptions, over later connections too, and word of what was missed."""

import asyncio
from typing import Any, Final

from connectors.mcp.connection import Connection, Terms
from connectors.mcp.era import Era
from connectors.mcp.notices import Notices
from connectors.mcp.subscription import Subscription
from connectors.mcp.wire import METHOD_NOT_FOUND, RpcError, SessionLost
from gateway.connector import ConnectorFault, Rejected

__all__ = ["Watch"]

_LISTED: Final = ("tools", "prompts", "resources")
_SHORT_S: Final = 5.0
_GAPS_APART_S: Final = 5.0
_MOST_DOUBLINGS: Final = 10


class Watch:
    """Has the server at the other end of a connection tell of its lists and of some resources.

    A legacy server is asked for each resource; one `subscriptions/listen` stream is kept open to a modern one that
    has anything to tell. After a break, listeners are told that everything may have changed.
    """

    def __init__(self, connection: Connection, terms: Terms, notices: Notices) -> None:
        self._connection = connection
        self._terms = terms
        self._notices = notices
        self._wanted: frozenset[str] = frozenset()
        self._held: frozenset[str] = frozenset()
        self._over: Era | None = None  # the agreement that `_held` and `_stream` are of
        self._stream: Subscription | None = None
        self._lock = asyncio.Lock()
        self._awake = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._stopped = True
        self._missed = False
        self._breaks = 0
        self._opened_at = 0.0
        self._gap_from = 0.0
        self._gap: asyncio.TimerHandle | None = None
        connection.on_change(self._changed)

    def allow(self) -> None:
        """Let notices come from the next connection on."""
        self._stopped = False

    async def stop(self) -> None:
        """End everything; never raises."""
        self._stopped = True
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.wait({supervisor})
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None
        await self._close_stream()
        self._over = None

    async def want(self, uris: frozenset[str]) -> None:
        """Have exactly these resources told of; nothing changes where that fails.

        Raises:
            ConnectorFault: the server refuses, or cannot.
        """
        async with self._lock:
            before, self._wanted = self._wanted, uris
            try:
                if not self._is_settled():
                    await self._connection.hold_session(self._settle)
                before = uris
            finally:
                if self._wanted is not before:
                    self._wanted = before
                    self._awake.set()

    def _changed(self) -> None:
        self._awake.set()
        if self._supervisor is None and not self._stopped:
            self._supervisor = asyncio.ensure_future(self._supervise())

    def _lost(self) -> None:
        """The stream ended: one that lived only shortly is opened again ever more slowly."""
        self._missed = True
        lived = self._terms.clock.monotonic() - self._opened_at
        self._breaks = self._breaks + 1 if lived < _SHORT_S else 0
        self._awake.set()

    async def _supervise(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            if self._breaks:
                await self._terms.clock.sleep(self._pause())
            try:
                async with self._lock:
                    if not self._is_settled():
                        await self._connection.hold_session(self._settle)
                    self._mend()
                    if self._stream is None:
                        self._breaks = 0
            except ConnectorFault as fault:
                if _is_final(fault):
                    continue
                self._breaks += 1
                await self._terms.clock.sleep(fault.retry_after_s or 0.0)
                self._awake.set()

    def _pause(self) -> float:
        pace = self._terms.pace
        return min(pace.restart_base_s * 2.0 ** min(self._breaks, _MOST_DOUBLINGS), pace.restart_cap_s)

    def _is_settled(self) -> bool:
        """Tell whether there is nothing to do. A server that is gone is left alone, unless something is watched."""
        era = self._connection.live
        if era is None:
            return not self._wanted
        if not era.modern:
            return self._wanted == (self._held if self._over is era else frozenset())
        if not (self._wanted or _tells(era)):
            return True
        stream = self._stream if self._over is era else None
        return stream is not None and stream.alive and stream.uris == self._wanted

    async def _settle(self) -> None:
        if self._is_settled():
            return
        era = await self._connection.ready(self._terms.pace.open_s)
        if self._wanted and not _declares(era, "resources", "subscribe"):
            raise Rejected("The server does not tell of updates of its resources.")
        if era.modern:
            await self._listen(era)
        else:
            await self._subscribe(era)

    async def _subscribe(self, era: Era) -> None:
        if self._over is not era:
            self._missed = self._missed or self._over is not None
            self._held, self._over = frozenset(), era
        for uri in sorted(self._held - self._wanted):
            try:
                await self._ask("resources/unsubscribe", uri, era)
            except SessionLost:
                raise
            except RpcError:
                pass  # a notice too many harms nobody
            self._held -= {uri}
        for uri in sorted(self._wanted - self._held):
            await self._ask("resources/subscribe", uri, era)
            self._held |= {uri}

    async def _ask(self, method: str, uri: str, era: Era) -> Any:
        return await self._connection.wire.request(method, {"uri": uri}, era.headers(method), self._terms.pace.list_s)

    async def _listen(self, era: Era) -> None:
        """Open the new stream before the old one is closed, so that nothing falls between them."""
        stream = Subscription(self._wanted, self._lost)
        await stream.open(self._connection.wire, era, self._terms.pace.list_s)
        await self._close_stream()
        self._missed = self._missed or (self._over is not None and self._over is not era)
        self._stream, self._over = stream, era
        self._opened_at = self._terms.clock.monotonic()

    async def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    def _mend(self) -> None:
        """Say that everything may have changed, if something was missed."""
        era = self._connection.live
        if era is None:
            return
        if self._over is None:
            self._over = era
        elif self._over is not era and not self._wanted and self._stream is None:
            self._missed, self._over = True, era
        if self._missed and self._gap is None:
            self._missed = False
            loop = asyncio.get_running_loop()
            self._gap = loop.call_at(max(self._gap_from, loop.time()), self._tell_gap, era)

    def _tell_gap(self, era: Era) -> None:
        self._gap = None
        self._gap_from = asyncio.get_running_loop().time() + _GAPS_APART_S
        for kind in _LISTED:
            if _declares(era, kind, "listChanged"):
                self._notices.put(f"notifications/{kind}/list_changed", {})
        for uri in sorted(self._wanted):
            self._notices.put("notifications/resources/updated", {"uri": uri})


def _is_final(fault: ConnectorFault) -> bool:
    """Tell whether the server would say the same again, until it is connected to anew."""
    if fault.code == "rejected":
        return fault.rpc is None or bool(fault.rpc["code"] == METHOD_NOT_FOUND)
    return fault.code == "forbidden"


def _declares(era: Era, kind: str, what: str) -> bool:
    declared = era.offer.capabilities.get(kind)
    return isinstance(declared, dict) and bool(declared.get(what))


def _tells(era: Era) -> bool:
    return any(_declares(era, kind, "listChanged") for kind in _LISTED) or _declares(era, "resources", "subscribe")
