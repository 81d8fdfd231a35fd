"""JSON-RPC over HTTP: reading one request, writing one answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Receive, Send

from gateway.codec import CodecError, dump, parse
from gateway.model.light import light, maker

__all__ = [
    "JSON_LINES",
    "ClientGone",
    "HttpRefusal",
    "RpcError",
    "RpcRequest",
    "read_body",
    "read_message",
    "send_json",
    "send_status",
]

_JSON: Final = (b"content-type", b"application/json")
_IDS: Final = (int, str)
JSON_LINES: Final = b"content-type: application/json\r\ncontent-length: %d\r\n"


class HttpRefusal(Exception):
    """The request is refused at the HTTP level, with a JSON-RPC error body."""

    recorded = False
    """Whether the ledger has it already, or is not to have it."""

    def __init__(self, status: int, message: str, *, code: int = -32600, headers: tuple[tuple[str, str], ...] = ()):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


class RpcError(Exception):
    """A JSON-RPC error to answer with; `status` is its HTTP status in the 2026-07-28 era."""

    recorded = False
    """Whether the ledger has it already."""

    of_server = False
    """Whether it is what a server answered."""

    def __init__(self, code: int, message: str, *, status: int = 400, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


@light
@dataclass(frozen=True, slots=True)
class RpcRequest:
    """One JSON-RPC request, a notification (`id` is None), or a client's own answer (`answers`)."""

    method: str
    params: Mapping[str, Any]
    id: str | int | None
    body: Mapping[str, Any]
    answers: bool = False


_request: Final = maker(RpcRequest)


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """Read the whole body.

    Raises:
        HttpRefusal: 413 over `limit` bytes.
        ClientGone: the client went away, or the server lost patience (see bounded.py).
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise HttpRefusal(413, f"The request body is larger than {limit} bytes.")
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise HttpRefusal(413, f"The request body is larger than {limit} bytes.")
        return body
    return await _read_rest(receive, body, limit)


async def _read_rest(receive: Receive, first: bytes, limit: int) -> bytes:
    parts, size = [first], len(first)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise HttpRefusal(413, f"The request body is larger than {limit} bytes.")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def read_message(raw: bytes, *, responses: bool = False) -> RpcRequest:
    """Parse one JSON-RPC request or notification, or a response where `responses` are taken.

    Raises:
        HttpRefusal: 400 with -32700 for what is not (unambiguous) JSON, -32600 for what is no single request.
    """
    try:
        body = parse(raw)
    except CodecError as error:
        raise HttpRefusal(400, f"Parse error: {error}", code=-32700) from None
    if not isinstance(body, dict):
        raise HttpRefusal(400, "The body must be one JSON-RPC request or notification; batches are not accepted.")
    method = body.get("method")
    params = body.get("params")
    request_id = body.get("id")
    if type(method) is str and type(params) is dict and type(request_id) in _IDS and body.get("jsonrpc") == "2.0":
        return _request(method, params, request_id, body)  # nearly every one
    if responses and body.get("jsonrpc") == "2.0" and "method" not in body and ("result" in body or "error" in body):
        return RpcRequest("", {}, None, body, answers=True)
    if body.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise HttpRefusal(400, "The body must be one JSON-RPC 2.0 request or notification.")
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise HttpRefusal(400, "params must be an object.")
    if "id" in body and (isinstance(request_id, bool) or not isinstance(request_id, str | int)):
        raise HttpRefusal(400, "id must be a string or an integer.")
    return _request(method, params, request_id, body)


async def send_json(send: Send, status: int, body: Any, headers: tuple[tuple[str, str], ...] = ()) -> None:
    """Answer with a JSON body."""
    raw = dump(body)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                _JSON,
                (b"content-length", str(len(raw)).encode()),
                *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers),
            ],
        }
    )
    await send({"type": "http.response.body", "body": raw})


async def send_status(send: Send, status: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
    """Answer without a body."""
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *lines]})
    await send({"type": "http.response.body", "body": b""})
