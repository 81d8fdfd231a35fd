"""What holds a gateway up that stops once nobody needs it: the leases of stdio bridges."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
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
    """Bridges that hold the gateway up. `left` is set once the last of them has gone."""

    def __init__(self) -> None:
        self._held = 0
        self.left = asyncio.Event()

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
            while True:
                await send({"type": "http.response.body", "body": b"\n", "more_body": True})
                if await _left(receive, self._beat_s):
                    return


async def _left(receive: Receive, beat_s: float) -> bool:
    """Wait until the next heartbeat is due; tell whether the client left before."""
    with suppress(TimeoutError):
        async with asyncio.timeout(beat_s):
            while (await receive())["type"] != "http.disconnect":
                pass
            return True
    return False
