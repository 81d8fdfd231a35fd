"""The paths beside `/mcp`: health and leases at once, the others by an application built for the first who asks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
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

    `lease` answers the bridges; `build` returns what answers all else but health. It loads starlette and every page, so
    it is called for the first request that needs them, and beside the event loop: calls go on meanwhile.
    """

    def __init__(self, guard: Guard, lease: Asgi, build: Callable[[], Asgi]) -> None:
        self._guard = guard
        self._at_once: Mapping[str, Asgi] = {"/healthz": _health, "/-/lease": lease}
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
        answer = self._at_once.get(scope["path"])
        if answer is not None and scope["method"] not in _READING:
            await send_json(send, 405, {"error": "This can only be read."}, (("allow", "GET, HEAD"),))
            return
        answer = answer or self._rest or await self._built()
        await answer(scope, receive, send)

    async def _built(self) -> Asgi:
        async with self._building:
            if self._rest is None:
                self._rest = await asyncio.to_thread(self._build)
            return self._rest


async def _health(scope: Scope, receive: Receive, send: Send) -> None:
    """Say that the process answers, and nothing else."""
    del scope, receive
    await send_json(send, 200, {"status": "ok"})
