"""The HTTP server: `/mcp` straight to its endpoint, the few other paths through starlette, uvicorn underneath."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.model.errors import IdentityFault
from gateway.model.identity import Identity
from gateway.model.request import Caller
from gateway.transport.endpoint import McpEndpoint
from gateway.transport.exchange import Exchange
from gateway.transport.guard import Guard
from gateway.transport.wire import HttpRefusal, headers_of

__all__ = ["Leases", "build_asgi", "listen", "serving"]

_HEARTBEAT_S: Final = 5.0
_METADATA_PATH: Final = "/.well-known/oauth-protected-resource"
Identify = Callable[[Caller, str], Awaitable[Identity]]


class Leases:
    """Bridges that hold the gateway up. `left` is set once the last of them has gone."""

    def __init__(self) -> None:
        self._held = 0
        self.left = asyncio.Event()

    async def hold(self) -> AsyncIterator[bytes]:
        """Hold a lease while this stream is read."""
        self._held += 1
        self.left.clear()
        try:
            while True:
                yield b"\n"
                await asyncio.sleep(_HEARTBEAT_S)
        finally:
            self._held -= 1
            if self._held == 0:
                self.left.set()


def build_asgi(
    endpoint: McpEndpoint, guard: Guard, leases: Leases, identify: Identify, metadata: Mapping[str, Any] | None
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Put the paths together. `metadata` is the RFC 9728 document, served only where OAuth is configured."""

    async def health(request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok"})

    async def lease(request: Request) -> Response:
        exchange = Exchange(request.scope, request.receive, request._send, headers_of(request.scope), None)
        try:
            await identify(exchange.caller(), "lease")
        except IdentityFault as fault:
            return JSONResponse({"error": fault.message}, status_code=401)
        return StreamingResponse(leases.hold(), media_type="text/plain")

    async def resource_metadata(request: Request) -> Response:
        del request
        return JSONResponse(metadata)

    routes = [Route("/healthz", health), Route("/-/lease", lease)]
    if metadata is not None:
        routes += [Route(path, resource_metadata) for path in (_METADATA_PATH, f"{_METADATA_PATH}/mcp")]
    rare = Starlette(routes=routes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/mcp":
            await endpoint(scope, receive, send)
            return
        try:
            guard.check(scope["headers"], headers_of(scope))
        except HttpRefusal as refusal:
            await JSONResponse({"error": refusal.message}, status_code=refusal.status)(scope, receive, send)
            return
        await rare(scope, receive, send)

    return app


@asynccontextmanager
async def serving(
    app: Callable[[Scope, Receive, Send], Awaitable[None]], listener: socket.socket, *, drain_s: int = 15
) -> AsyncIterator[None]:
    """Serve on `listener` until the block ends, then let requests under way finish for up to `drain_s` seconds."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=drain_s,
        h11_max_incomplete_event_size=64 * 1024,
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
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
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

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()
