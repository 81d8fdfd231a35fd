"""Streams that break off and go on: `Last-Event-ID`, `retry`, and the stream a legacy session keeps open."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from connectors.mcp.http_client import Reading
from connectors.mcp.http_reply import Reply
from connectors.mcp.http_status import session_is_lost
from connectors.mcp.wire import Ear
from gateway.connector import Clock, ConnectorFault, TimedOut

__all__ = ["KeptStream", "resumed"]

Fetch = Callable[[float, Reading], Awaitable[Reply]]
"""GETs the stream that a reading is of, from where it ended; takes seconds."""
Doze = Callable[[float], Awaitable[None]]
"""Waits some seconds. Raises `ConnectorFault` when the connection is closed meanwhile."""

_RETRY_S: Final = 1.0
_LEAST_RETRY_S: Final = 0.01
_MOST_RETRY_S: Final = 60.0
_MOST_VAIN_TRIES: Final = 5
_LEAST_KEPT_S: Final = 0.1
_FOREVER_S: Final = 86_400.0


async def resumed(fetch: Fetch, doze: Doze, reading: Reading, cut: ConnectorFault) -> Reply:
    """Return the answer to a request whose stream broke off, as `cut` says.

    A server may end a stream on purpose, and have the client come back for the rest (polling).

    Raises:
        ConnectorFault: there is no more to be had; the request has been sent.
    """
    loop = asyncio.get_running_loop()
    ends = reading.ends
    reading.patient = True
    vain = 0
    while vain < _MOST_VAIN_TRIES:
        before = reading.last_id
        await doze(_pause(reading, _LEAST_RETRY_S))
        left = ends + reading.stood_still() - loop.time()
        if left <= 0:
            raise TimedOut("The server did not answer in time.")
        try:
            reply = await fetch(left, reading)
        except ConnectorFault as fault:
            if fault.code == "timeout" and fault.sent:
                raise
            vain = 0 if reading.last_id != before else vain + 1
            continue
        if reply.status != 200 or not reply.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
            break
        return reply
    raise cut


def _pause(reading: Reading, least_s: float) -> float:
    asked = _RETRY_S if reading.retry_ms is None else reading.retry_ms / 1000
    return min(max(asked, least_s), _MOST_RETRY_S)


class KeptStream:
    """The stream that a legacy session's server says on what belongs to no request; opened again whenever it ends."""

    def __init__(
        self,
        fetch: Fetch,
        take: Callable[[bytes, Ear | None], Mapping[str, Any] | None],
        lost: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._fetch = fetch
        self._lost = lost
        self._clock = clock
        self.tried = asyncio.Event()
        self._reading = _Listening(take, self.tried)
        self._had_one = False

    async def run(self) -> None:
        """Keep the stream until the server says that it has none, or no longer knows the session.

        `tried` is set once the first one has begun, or cannot be had.
        """
        try:
            await self._keep()
        finally:
            self.tried.set()

    async def _keep(self) -> None:
        vain = 0
        while True:
            self._reading.heard = False
            try:
                reply = await self._fetch(_FOREVER_S, self._reading)
            except ConnectorFault as fault:
                self._had_one = self._had_one or fault.sent
                vain = 0 if self._reading.heard else vain + 1
            else:
                if self._had_one and session_is_lost(reply):  # else it may be a server that knows no GET at all
                    self._lost()
                if reply.status != 429 and reply.status < 500:
                    return
                vain += 1
            self.tried.set()
            pause = _pause(self._reading, _LEAST_KEPT_S)
            await self._clock.sleep(min(pause * 2.0 ** min(vain, 10), max(pause, _MOST_RETRY_S)))


class _Listening(Reading):
    __slots__ = ("_take", "_tried", "heard")

    def __init__(self, take: Callable[[bytes, Ear | None], Mapping[str, Any] | None], tried: asyncio.Event) -> None:
        self.endless = self.patient = True
        self._take = take
        self._tried = tried
        self.heard = False

    def begun(self) -> None:
        self._tried.set()

    def event(self, data: bytes) -> bool:
        self.heard = True
        self._take(data, None)
        return False
