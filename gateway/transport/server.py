"""The HTTP server: `/mcp` straight to its endpoint, the few other paths beside it, uvicorn underneath."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Final

import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.transport.beside import Asgi
from gateway.transport.bounded import BoundedHttp, Familiar, Malformed
from gateway.transport.endpoint import McpEndpoint

__all__ = ["build_asgi", "listen", "serving"]

_ENDPOINT: Final = re.compile(r"/mcp/(?:[A-Za-z0-9][A-Za-z0-9_-]{0,31}/?)?")
"""One slash at the end is nobody's mistake to pay for: whole frameworks write their URLs with it."""


def build_asgi(endpoint: McpEndpoint, beside: Asgi) -> Asgi:
    """Put the paths together."""

    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path = scope.get("path", "")
        if path == "/mcp" or _ENDPOINT.fullmatch(path):
            return endpoint(scope, receive, send)
        return beside(scope, receive, send)

    return app


@asynccontextmanager
async def serving(app: Asgi, listener: socket.socket, *, drain_s: int = 14) -> AsyncIterator[None]:
    """Serve on `listener` until the block ends, then let requests under way finish for up to `drain_s` seconds."""
    config = uvicorn.Config(
        app,
        interface="asgi3",  # which uvicorn takes only coroutine functions for by itself
        http=type("Http", (BoundedHttp,), {"familiar": Familiar(), "malformed": Malformed()}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=drain_s,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.ready.wait()
        yield
    finally:
        server.should_exit = True
        await task
        listener.close()


def listen(host: str, port: int) -> socket.socket:
    """Bind an address; port 0 takes a free one.

    Raises:
        OSError: it cannot be had (uvicorn, left to itself, would end the process).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handling (the gateway stops in its own order), and saying when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # theirs is a generator
        return nullcontext()
