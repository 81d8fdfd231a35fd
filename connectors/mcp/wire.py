"""What an MCP server is spoken to through, whatever carries the bytes."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from gateway.connector import Begun, ConnectorFault, Notice, dump

__all__ = [
    "METHOD_NOT_FOUND",
    "Ear",
    "Pending",
    "RpcError",
    "SessionLost",
    "StatusError",
    "Wire",
    "answer_to",
    "encode",
    "messages_in",
    "number_of",
    "result_of",
]

METHOD_NOT_FOUND: Final = -32601
_MOST_IN_A_BATCH: Final = 1000
_MOST_DIGITS: Final = 18


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


class Ear:
    """Takes what a server says for one request while that is under way. This one takes nothing."""

    listens: bool = False
    """Whether anything is heard at all; where not, only `weigh` is called."""
    wants_progress: bool = False
    endless: bool = False
    """Whether the request is one that is answered only at the end of a stream of notifications, however many."""
    number: int = 0
    """That of the first request it listens for: the progress of a task goes by it to the end."""
    still_open: Collection[object] = ()
    """What it has to drop at the end."""

    def weigh(self, received: int, status: int | None = None) -> None:
        """Take note of what was answered: bytes, and an HTTP status where there is one."""

    def hear(self, method: str, params: Mapping[str, Any]) -> None:
        """Take a notification; never waits."""

    def ask(self, question: Mapping[str, Any], reply: Callable[[bytes], Awaitable[None]]) -> bool:
        """Take a request of the server, and send the answer with `reply` some time; False refuses it."""
        return False

    def withdraw(self, identity: object) -> bool:
        """Drop the server's request of that id; tell whether it was one of this ear's."""
        return False

    def stood_still(self) -> float:
        """Return for how many seconds the request's clock has been stopped so far."""
        return 0.0

    def end(self) -> None:
        """The request is over: drop what is still open."""


class Pending(Begun):
    """A request that was sent for a call, which `goes_on` from there where there is more to do than to read a result.

    `ear` is who listens for it.
    """

    ear: Ear | None
    goes_on: "Callable[[Pending], Awaitable[Mapping[str, Any]]]"

    def whole(self) -> Awaitable[Mapping[str, Any]]:
        return self.goes_on(self)

    async def come_of(self) -> Any:
        """As `Wire.request`, which has sent it."""
        raise NotImplementedError


class Begin(Protocol):
    """As `Wire.request`, where it can be sent at once; else None, and nothing is sent.

    `rest` is what follows the number in the message.
    """

    def __call__(self, rest: bytes, headers: bytes, timeout_s: float, ear: Ear) -> Pending | None: ...


class Wire(Protocol):
    """Requests out, results back, each call on its own."""

    own_streams: bool
    """Whether what a server says while a request is under way names that request by the way it comes."""

    @property
    def alive(self) -> bool:
        """True from `open` until `close`, or until the other side is gone for good."""
        ...

    async def open(self) -> None:
        """Be ready to send. Raises `ConnectorFault`."""
        ...

    def settle(self, headers: bytes, *, legacy: bool) -> None:
        """Note that an era is agreed; `headers` are the header lines that go with every message from now on."""
        ...

    async def close(self) -> None:
        """Leave nothing behind; never raises."""
        ...

    async def request(
        self, method: str, params: Mapping[str, Any], headers: bytes, timeout_s: float, ear: Ear | None = None
    ) -> Any:
        """Return the `result` of one request. `headers` are HTTP header lines, ignored where there are none.

        Cancelling it tells the server so. `ear` gets what the server says for it meanwhile, and its clock adds to
        `timeout_s`.

        Raises:
            RpcError: the server answered with an error.
            ConnectorFault: there was no usable answer.
        """
        ...

    @property
    def begin(self) -> Begin | None:
        """Return what sends a request before anybody waits for it, where there is something that does."""
        ...

    async def notify(self, method: str, params: Mapping[str, Any], headers: bytes) -> None:
        """Send a notification; nothing comes back. Raises `ConnectorFault`."""
        ...

    @property
    def standing(self) -> Callable[[Ear], AbstractContextManager[None]]:
        """Return what has an ear take, where the connection is of one client, what names no request, between requests.

        Of two at once only the later one does.
        """
        ...

    @property
    def on_between(self) -> Callable[[Notice], None]:
        """Return what has a listener told of log messages while no request listens."""
        ...

    def on_notice(self, listener: Notice) -> None:
        """Have `listener` told of every notification that belongs to no request."""
        ...

    def on_lost(self, listener: Callable[[], None]) -> None:
        """Have `listener` told when the other side ends what was agreed, by itself and between requests."""
        ...


def encode(number: int, method: str, params: Mapping[str, Any], ear: Ear | None = None) -> bytes:
    """Return a JSON-RPC request as bytes; where progress is wanted, its number is its progress token too."""
    if ear is not None and ear.wants_progress:
        params = {**params, "_meta": {**params.get("_meta", {}), "progressToken": number}}
    return dump({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def messages_in(value: Any) -> Sequence[dict[str, Any]]:
    """Return the JSON-RPC messages in what a server wrote: one, or a batch of up to 1,000 (2025-03-26), else none."""
    if type(value) is dict:
        return (value,)
    if type(value) is list and len(value) <= _MOST_IN_A_BATCH:
        return [each for each in value if type(each) is dict]
    return ()


def number_of(identity: object) -> int | None:
    """Return the number of the request that an id or a progress token names, also where it is written as text.

    Clients of both first SDKs take it so, and there are servers that nobody ever told.
    """
    if type(identity) is int:
        return identity
    if type(identity) is str and identity.isascii() and identity.isdigit() and len(identity) <= _MOST_DIGITS:
        return int(identity)
    return None


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
    """Return the bytes that answer a server's request that nobody takes: it may ping, and nothing else."""
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
    if request.get("method") == "ping":
        reply["result"] = {}
    else:
        reply["error"] = {"code": METHOD_NOT_FOUND, "message": "This client offers no such method"}
    return dump(reply)
