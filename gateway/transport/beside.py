"""The paths beside `/mcp`: health at once, the others by an application that is built for the first who asks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Receive, Scope, Send

from gateway.transport.guard import Guard
from gateway.transport.head import Head
from gateway.transport.wire import HttpRefusal, send_json

__all__ = ["Asgi", "Beside"]

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
_READING: Final = frozenset({"GET", "HEAD"})


class Beside:
    """Answers what is asked beside `/mcp`.

    `build` returns what answers all but health. It loads starlette and every page, so it is called for the first
    request that needs them, and beside the event loop: calls go on meanwhile.
    """

    def __init__(self, guard: Guard, build: Callable[[], Asgi]) -> None:
        self._guard = guard
        self._build = build
        self._building = asyncio.Lock()
        self._rest: Asgi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            self._guard.check(Head.of(scope))
        except HttpRefusal as refusal:
            await send_json(send, refusal.status, {"error": refusal.message})
            return
        if scope["path"] == "/healthz" and scope["method"] in _READING:
            await send_json(send, 200, {"status": "ok"})  # that the process answers, and nothing else
            return
        rest = self._rest or await self._built()
        await rest(scope, receive, send)

    async def _built(self) -> Asgi:
        async with self._building:
            if self._rest is None:
                self._rest = await asyncio.to_thread(self._build)
            return self._rest
