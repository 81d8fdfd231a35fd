"""What holds a gateway up that stops once nobody needs it: the leases of stdio bridges."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.types import Receive, Scope, Send

from gateway.model.errors import IdentityFault
from gateway.model.identity import Identity
from gateway.model.request import Caller
from gateway.transport.exchange import Exchange
from gateway.transport.wire import send_json

__all__ = ["Leases", "Lessor"]

_HEARTBEAT_S: Final = 5.0
_HEADERS: Final = [(b"content-type", b"text/plain; charset=utf-8")]


class Leases:
    """Bridges that hold the gateway up. `left` is set once the last of them has gone, `ended` once no lease is good."""

    def __init__(self) -> None:
        self._held = 0
        self.left = asyncio.Event()
        self.ended = asyncio.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a lease until the block ends."""
        self._held += 1
        self.left.clear()
        try:
            yield
        finally:
            self._held -= 1
            if self._held == 0:
                self.left.set()


class Lessor:
    """Streams a heartbeat to a known bridge for as long as it reads, and holds a lease meanwhile."""

    def __init__(
        self,
        leases: Leases,
        identify: Callable[[Caller, str], Awaitable[Identity]],
        beat_s: float = _HEARTBEAT_S,
    ) -> None:
        self._leases = leases
        self._beat_s = beat_s
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._identify(Exchange(scope, receive, send).caller(), "lease")
        except IdentityFault as fault:
            await send_json(send, 401, {"error": fault.message})
            return
        with self._leases.held():
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._beat(receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, receive: Receive, send: Send) -> None:
        """Send heartbeats until the bridge has left, or leases end."""
        ends = [asyncio.ensure_future(_left(receive)), asyncio.ensure_future(self._leases.ended.wait())]
        try:
            ended: Collection[object] = ()
            while not ended:
                await send({"type": "http.response.body", "body": b"\n", "more_body": True})
                ended, _ = await asyncio.wait(ends, timeout=self._beat_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()


async def _left(receive: Receive) -> bool:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    return True
