"""A server of one era: it answers the other era's requests as servers that never heard of it do."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

__all__ = ["Era", "only_over_http", "refuse_the_handshake"]

Era = Literal["both", "legacy", "modern"]
App = Callable[..., Awaitable[None]]


def only_over_http(era: Era, app: App) -> App:
    """Wrap the HTTP application; without a protocol version header a request is of the legacy era."""

    async def gate(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or era == "both":
            await app(scope, receive, send)
            return
        version = dict(scope["headers"]).get(b"mcp-protocol-version", b"").decode("latin-1")
        is_legacy = not version or version in HANDSHAKE_PROTOCOL_VERSIONS
        if is_legacy == (era == "legacy"):
            await app(scope, receive, send)
        elif scope["method"] != "POST":
            await _answer(send, 405, _error(-32600, "Method Not Allowed", None))
        elif era == "legacy":
            await _answer(send, 400, _error(-32600, f"Bad Request: Unsupported protocol version: {version}", None))
        else:
            data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": version or "none"}
            await _answer(send, 400, _error(-32022, "Unsupported protocol version", data))

    return gate


def _error(code: int, message: str, data: Mapping[str, Any] | None) -> dict[str, Any]:
    error = {"code": code, "message": message} | ({"data": data} if data else {})
    return {"jsonrpc": "2.0", "id": None, "error": error}


async def _answer(send: Any, status: int, body: Mapping[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def refuse_the_handshake(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """The middleware of a modern server over stdio, where the SDK would serve both eras."""
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": ctx.protocol_version}
        raise MCPError(code=-32022, message="Unsupported protocol version", data=data)
    return await call_next(ctx)
