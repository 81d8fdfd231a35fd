"""What an MCP server is spoken to through, whatever carries the bytes."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from gateway.connector import ConnectorFault, dump

__all__ = ["METHOD_NOT_FOUND", "RpcError", "SessionLost", "StatusError", "Wire", "answer_to", "encode", "result_of"]

METHOD_NOT_FOUND: Final = -32601


class RpcError(Exception):
    """The server answered with a JSON-RPC error; `status` is the HTTP status that came with it, if any."""

    def __init__(self, code: int, message: str, data: Any = None, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.status = status


class StatusError(RpcError):
    """The server refused with an HTTP status and no JSON-RPC answer; code and message are ours."""


class SessionLost(StatusError):
    """The server no longer knows the session: it refused the request unread."""


class Wire(Protocol):
    """Requests out, results back, each call on its own."""

    @property
    def alive(self) -> bool:
        """True from `open` until `close`, or until the other side is gone for good."""
        ...

    async def open(self) -> None:
        """Be ready to send. Raises `ConnectorFault`."""
        ...

    async def close(self) -> None:
        """Leave nothing behind; never raises."""
        ...

    async def request(self, method: str, params: Mapping[str, Any], headers: bytes, timeout_s: float) -> Any:
        """Return the `result` of one request. `headers` are HTTP header lines, ignored where there are none.

        Cancelling it tells the server so.

        Raises:
            RpcError: the server answered with an error.
            ConnectorFault: there was no usable answer.
        """
        ...

    async def notify(self, method: str, params: Mapping[str, Any], headers: bytes) -> None:
        """Send a notification; nothing comes back. Raises `ConnectorFault`."""
        ...

    def on_notification(self, listener: Callable[[str], None]) -> None:
        """Have `listener` called with the method of every notification that comes in."""
        ...


def encode(number: int, method: str, params: Mapping[str, Any]) -> bytes:
    """Return a JSON-RPC request as bytes."""
    return dump({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def result_of(message: Mapping[str, Any], status: int | None = None) -> Any:
    """Return the result in a JSON-RPC response.

    Raises:
        RpcError: the response is an error.
        ConnectorFault: `contract_broken`, it is neither or both.
    """
    error = message.get("error")
    if error is None and "result" in message:
        return message["result"]
    if not isinstance(error, dict) or "result" in message:
        raise ConnectorFault("The server's answer is not a JSON-RPC response.", code="contract_broken")
    code = error.get("code")
    text = error.get("message")
    raise RpcError(
        code if type(code) is int else -32603, text if isinstance(text, str) else "", error.get("data"), status
    )


def answer_to(request: Mapping[str, Any]) -> bytes:
    """Return the bytes that answer a server's own request: it may ping; nothing else is offered to it."""
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
    if request.get("method") == "ping":
        reply["result"] = {}
    else:
        reply["error"] = {"code": METHOD_NOT_FOUND, "message": "This client offers no such method"}
    return dump(reply)
