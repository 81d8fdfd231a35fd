"""What an HTTP answer means to MCP: a JSON-RPC response, or why there is none."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from connectors.mcp.http_reply import Reply
from connectors.mcp.wire import SessionLost, StatusError, messages_in, number_of
from gateway.connector import (
    Clock,
    CodecError,
    ConnectorFault,
    CredentialExpired,
    Forbidden,
    Rejected,
    Unavailable,
    parse,
    parse_retry_after,
    plain,
    put_off,
)

__all__ = ["message_in", "moved_to", "refuse_status", "session_is_lost"]

_INVALID_REQUEST: Final = -32600
_MOVED: Final = frozenset({307, 308})
_NOT_NOW: Final = frozenset({408, 425, 429})
_BOM: Final = b"\xef\xbb\xbf"


def message_in(reply: Reply, number: int, session: bytes, clock: Clock) -> Mapping[str, Any]:
    """Return the JSON-RPC response to request `number` in a plain answer.

    Raises:
        RpcError, ConnectorFault: what its status or its shape means instead.
    """
    if reply.status != 200:
        refuse_status(reply, session, clock)
    try:
        value = parse(reply.body.removeprefix(_BOM))
    except CodecError as error:
        value = None
        why = f"not JSON: {error}"
    else:
        why = "no JSON-RPC response to this request"
    for message in messages_in(value):
        if "method" in message:
            continue
        identity = message.get("id")
        if number_of(identity) == number:
            return message
        if reply.status >= 400 and identity is None and isinstance(message.get("error"), dict):
            return message
    if reply.status >= 400:
        raise StatusError(_INVALID_REQUEST, f"HTTP status {reply.status}", status=reply.status)
    raise _not_an_answer(f"HTTP {reply.status}, {why}")


def refuse_status(reply: Reply, session: bytes, clock: Clock) -> None:
    """Raise what a status means by itself; 2xx and other 4xx pass. `session` is the one the request named."""
    status = reply.status
    detail = f"HTTP {status}: {plain(reply.body[:400].decode('utf-8', 'replace'))}"
    if 300 <= status < 400:
        raise Rejected("The server answered with a redirect, which is not followed; correct its url.", detail=detail)
    if status == 401:
        raise CredentialExpired(detail=detail)
    if status == 403:
        raise Forbidden("The server does not let the gateway do this (403).", detail=detail)
    if session and session_is_lost(reply):
        raise SessionLost(_INVALID_REQUEST, "the session ended", status=status)
    if status in _NOT_NOW or status >= 500:
        raw = reply.headers.get(b"retry-after")
        header = raw.decode("latin-1") if raw else None
        raise Unavailable(
            f"The server cannot answer now (HTTP {status}).",
            retry_after_s=parse_retry_after(header, clock.now_ms()),
            detail=detail,
            refused=put_off(status, header),
        )


def moved_to(reply: Reply, authority: str, target: str) -> str:
    """Return the target with, or without, a slash at the end of its path where that is what a redirect asks for.

    Else "". Whatever else it says, the request stays at its origin.
    """
    if reply.status not in _MOVED:
        return ""
    path, mark, query = target.partition("?")
    other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
    try:
        parts = urlsplit(reply.headers.get(b"location", b"").decode("ascii"))
    except ValueError:
        return ""
    here = parts.hostname in {None, urlsplit(f"//{authority}").hostname}
    return f"{other}{mark}{query}" if here and other and (parts.path, parts.query) == (other, query) else ""


def session_is_lost(reply: Reply) -> bool:
    """404 is the specification's sign; servers in the field also say 400 and name the session."""
    return reply.status == 404 or (reply.status == 400 and b"session" in reply.body[:1000].lower())


def _not_an_answer(why: str) -> ConnectorFault:
    return ConnectorFault("The server's answer cannot be used.", code="contract_broken", detail=why)
