"""Web pages that may use MCP: those of the origins the operator named (CORS, Fetch §3.2)."""

from collections.abc import Awaitable, Sequence
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from gateway.transport.beside import Asgi
from gateway.transport.head import KNOWN
from gateway.transport.wire import send_status

__all__ = ["open_to"]

_OPEN: Final = ("/mcp/", "/.well-known/")
"""Where a page may ask: MCP, and where a client finds how to log in. Pages for people are for no other origin."""

_READABLE: Final = b"mcp-session-id, www-authenticate"


def open_to(origins: Sequence[str], app: Asgi) -> Asgi:
    """Return an application that lets pages of these origins use MCP; the very same where there are none."""
    return _Browsers(app, frozenset(origin.encode() for origin in origins)) if origins else app


class _Browsers:
    """Answers the preflights of named origins, and lets their pages read answers.

    What such a page sends is passed on without its `Origin`, which is judged here; all the rest of it is judged behind.
    """

    def __init__(self, app: Asgi, origins: frozenset[bytes]) -> None:
        self._app = app
        self._origins = origins

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        named = [value for name, value in scope.get("headers", ()) if name == b"origin"]
        if len(named) != 1 or named[0] not in self._origins or not f"{scope['path']}/".startswith(_OPEN):
            return self._app(scope, receive, send)
        lines = [(b"access-control-allow-origin", named[0]), (b"vary", b"Origin")]
        asked = dict(scope["headers"])
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in asked:
            return send_status(send, 204, _preflight(lines, asked))

        async def readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                exposed = (b"access-control-expose-headers", _READABLE)
                message = {**message, "headers": [*message["headers"], *lines, exposed]}
            await send(message)

        return self._app(_without_origin(scope), receive, readable)


def _preflight(lines: list[tuple[bytes, bytes]], asked: dict[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    more = [
        (b"access-control-allow-methods", b"GET, POST, DELETE"),
        (b"access-control-allow-headers", asked.get(b"access-control-request-headers", b"")),
        (b"access-control-max-age", b"600"),
    ]
    return tuple((name.decode(), value.decode("latin-1")) for name, value in (*lines, *more))


def _without_origin(scope: Scope) -> dict[str, Any]:
    """Return the scope of the request without its origin, and without the short way, which answers to no page."""
    rest = {key: value for key, value in scope.items() if key != KNOWN}
    return {**rest, "headers": [line for line in scope["headers"] if line[0] != b"origin"]}
