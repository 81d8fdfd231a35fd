"""MCP's first HTTP transport (2024-11-05), client side: one event stream for all answers, messages posted beside it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import urljoin, urlsplit

from connectors.mcp.awaited import Awaited
from connectors.mcp.ears import Ears
from connectors.mcp.http_client import HttpClient, Reading
from connectors.mcp.http_reply import Reply
from connectors.mcp.http_status import refuse_status
from connectors.mcp.showing import Showing, Shown
from connectors.mcp.wire import Ear, RpcError, SessionLost, StatusError, answer_to, encode, messages_in
from gateway.connector import Clock, CodecError, ConnectorFault, Notice, Unavailable, dump, parse

__all__ = ["SseWire"]

_FOREVER_S: Final = 86_400.0
_ASIDE_S: Final = 5.0
_CLOSE_S: Final = 1.0
_MAX_ASIDES: Final = 32
_MAX_ENDPOINT: Final = 2048
_INVALID_REQUEST: Final = -32600
_ENDED: Final = "The server's event stream ended in the middle of the call."


class SseWire:
    """Speaks MCP to a URL whose event stream names another, of the same origin, that messages go to.

    A message that cannot be posted ends its own request only; the end of the stream ends all that wait for an answer.
    `alone` says that all requests are of one client.
    """

    own_streams = False
    begin = None

    def __init__(
        self, url: str, client: HttpClient, showing: Showing | None, clock: Clock, *, alone: bool = False
    ) -> None:
        self._url = url
        self._client = client
        self._shown = Shown(client, showing)
        self._clock = clock
        self._ears = Ears(alone=alone)
        self.standing = self._ears.standing
        self.on_between = self._ears.on_between
        self._awaited = Awaited(self._ears, self._tell_cancelled)
        self._lost: Callable[[], None] = lambda: None
        self._reader: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._post = b""
        self._settled = b""

    @property
    def alive(self) -> bool:
        return bool(self._post) and self._reader is not None and not self._reader.done()

    async def open(self) -> None:
        await self.close()
        named: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        reader = self._reader = asyncio.ensure_future(self._read(_Stream(named, self._take)))
        either: tuple[asyncio.Future[Any], ...] = (named, reader)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not named.done():
            why = None if reader.cancelled() else reader.exception()
            raise why or Unavailable("The server was stopped.", sent=False)
        self._post = self._head(b"POST", self._target(named.result())) + b"Content-Type: application/json\r\n"

    async def close(self) -> None:
        ending: list[asyncio.Task[None]] = [*self._sending, *([self._reader] if self._reader else [])]
        self._reader, self._post, self._settled = None, b"", b""
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=_CLOSE_S)
        self._awaited.fail_all(Unavailable("The server was stopped."))
        await self._client.close()

    def settle(self, headers: bytes, *, legacy: bool) -> None:
        self._settled = headers

    def on_notice(self, listener: Notice) -> None:
        self._ears.on_notice(listener)

    def on_lost(self, listener: Callable[[], None]) -> None:
        self._lost = listener

    async def notify(self, method: str, params: Mapping[str, Any], headers: bytes) -> None:
        body = dump({"jsonrpc": "2.0", "method": method, "params": params})
        await self._say(body, headers, _Post(_ASIDE_S))

    async def request(
        self, method: str, params: Mapping[str, Any], headers: bytes, timeout_s: float, ear: Ear | None = None
    ) -> Any:
        if not self.alive:
            raise Unavailable("There is no connection to the server.", sent=False)
        number = self._awaited.begin()
        self._start(self._ask(number, encode(number, method, params, ear), headers, _Post(timeout_s, ear)))
        return await self._awaited.result(number, timeout_s, ear)

    async def _ask(self, number: int, body: bytes, headers: bytes, post: "_Post") -> None:
        """Post a request. Its answer comes on the stream, maybe even before the post is accepted."""
        try:
            await self._say(body, headers, post)
        except (RpcError, ConnectorFault) as fault:
            self._awaited.fail(number, fault)
            if isinstance(fault, SessionLost) and self._reader is not None:
                self._post = b""  # nobody answers on this stream any more
                self._reader.cancel()

    async def _say(self, body: bytes, headers: bytes, post: "_Post") -> None:
        """Post one message.

        Raises:
            RpcError, ConnectorFault: it was not accepted.
        """
        if not self._post:
            raise Unavailable("There is no connection to the server.", sent=False)
        reply = await self._shown.send(self._post + headers, body, post.timeout_s, post)
        refuse_status(reply, self._url.encode(), self._clock)
        if reply.status >= 400:
            raise StatusError(_INVALID_REQUEST, f"HTTP status {reply.status}", status=reply.status)

    async def _read(self, stream: "_Stream") -> None:
        """Read the stream until it ends. Raises `ConnectorFault` where it has not begun."""
        fault = Unavailable(_ENDED)
        try:
            reply = await self._shown.send(self._head(b"GET", self._client.target), None, _FOREVER_S, stream)
            _refuse(reply, self._clock)
        except ConnectorFault as error:
            fault = Unavailable(_ENDED, detail=f"{error.message} {error.detail}")
            if not stream.named.done():
                raise
        finally:
            self._awaited.fail_all(fault)
        self._lost()

    def _take(self, data: bytes) -> None:
        """Take one event of the server."""
        try:
            value = parse(data)
        except CodecError:
            return
        for message in messages_in(value):
            self._take_one(message, len(data))

    def _take_one(self, message: Mapping[str, Any], size: int) -> None:
        if message.get("method") is None:
            self._awaited.answered(message, size)
        elif "id" not in message:
            self._ears.hear(message)
        else:
            ear = self._ears.asked()
            if message["method"] == "ping" or ear is None or not ear.ask(message, self._answer):
                self._aside(answer_to(message))

    def _target(self, named: bytes) -> str:
        """Return the path that messages go to, as the stream's first event names it: it must not lead elsewhere."""
        text = named.decode("ascii", "replace")
        here = urlsplit(self._url)
        try:
            there = urlsplit(urljoin(self._url, text))
            same = (there.scheme, there.netloc) == (here.scheme, here.netloc)
        except ValueError:
            same = False
        if not same or not text.isprintable() or " " in text or "�" in text or len(text) > _MAX_ENDPOINT:
            raise ConnectorFault(
                "The server names a place for messages that is not its own, so nothing was sent.",
                code="contract_broken",
                detail=f"endpoint {text[:_MAX_ENDPOINT]!r}",
            )
        return (there.path or "/") + (f"?{there.query}" if there.query else "")

    def _head(self, verb: bytes, target: str) -> bytes:
        accept = "text/event-stream" if verb == b"GET" else "application/json"
        lines = f" {target} HTTP/1.1\r\nHost: {self._client.authority}\r\nAccept-Encoding: identity\r\n"
        return verb + f"{lines}User-Agent: toolgate\r\nAccept: {accept}\r\n".encode("latin-1")

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _tell_cancelled(self, number: int) -> None:
        params = {"requestId": number, "reason": "the caller no longer waits"}
        self._aside(dump({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))

    def _aside(self, body: bytes) -> None:
        """Send something whose fate does not matter to any call."""
        if self.alive and len(self._sending) < _MAX_ASIDES:
            self._start(self._answer(body))

    async def _answer(self, body: bytes) -> None:
        try:
            await self._say(body, self._settled, _Post(_ASIDE_S))
        except (RpcError, ConnectorFault):
            return


def _refuse(reply: Reply, clock: Clock) -> NoReturn:
    """Raise what an answer means that is not the stream."""
    refuse_status(reply, b"", clock)
    detail = f"HTTP {reply.status} where an event stream was due"
    raise ConnectorFault("This is no server of the SSE transport.", code="contract_broken", detail=detail)


class _Post(Reading):
    """How one message is posted: how long that may take, and who takes note of what is answered to it."""

    __slots__ = ("_ear", "timeout_s")

    def __init__(self, timeout_s: float, ear: Ear | None = None) -> None:
        self.timeout_s = timeout_s
        self._ear = ear

    def weigh(self, received: int, status: int) -> None:
        if self._ear is not None:
            self._ear.weigh(received, status)


class _Stream(Reading):
    """The one stream: its first event names the place for messages, every other is a message."""

    __slots__ = ("_take", "named")

    def __init__(self, named: "asyncio.Future[bytes]", take: Callable[[bytes], None]) -> None:
        self.endless = self.patient = True
        self.named = named
        self._take = take

    def event(self, data: bytes) -> bool:
        if not self.named.done():
            self.named.set_result(data)
        else:
            self._take(data)
        return False
