"""MCP's Streamable HTTP transport, client side, both eras."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from connectors.mcp.ears import Ears
from connectors.mcp.http_client import HttpClient, Reading
from connectors.mcp.http_reply import Reply
from connectors.mcp.http_status import message_in, refuse_status
from connectors.mcp.resuming import KeptStream, resumed
from connectors.mcp.showing import Showing, Shown
from connectors.mcp.wire import Ear, answer_to, encode, result_of
from gateway.connector import Clock, CodecError, ConnectorFault, Notice, TimedOut, Unavailable, dump, parse

__all__ = ["HttpWire"]

_ASIDE_S: Final = 5.0
_CLOSE_S: Final = 1.0
_STREAM_S: Final = 2.0
_MAX_ASIDES: Final = 32
_SESSIONLESS: Final = frozenset({"initialize", "server/discover"})


class HttpWire:
    """Speaks MCP to its client's URL. Every request is its own exchange; nothing is shared but idle connections.

    `alone` says that all requests are of one client.
    """

    own_streams = True

    def __init__(self, client: HttpClient, showing: Showing | None, clock: Clock, *, alone: bool = False) -> None:
        self._client = client
        self._shown = Shown(client, showing)
        self._clock = clock
        self._ears = Ears(alone=alone)
        self.standing = self._ears.standing
        self.on_between = self._ears.on_between
        self._numbers = itertools.count(1)
        self._open = False
        self._session = b""
        self._settled = b""
        self._legacy = False
        self._asides: set[asyncio.Task[None]] = set()
        self._kept: asyncio.Task[None] | None = None
        self._alone = alone
        self._stream_tried: asyncio.Event | None = None
        self._lost: Callable[[], None] = lambda: None
        self._common = (
            f"Host: {self._client.authority}\r\nAccept-Encoding: identity\r\nUser-Agent: toolgate\r\n"
        ).encode("latin-1")
        target = self._client.target.encode("ascii")
        self._post = (
            b"POST %b HTTP/1.1\r\n%bAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
            % (target, self._common)
        )
        self._get = b"GET %b HTTP/1.1\r\n%bAccept: text/event-stream\r\n" % (target, self._common)
        self._delete = b"DELETE %b HTTP/1.1\r\n%b" % (target, self._common)

    @property
    def alive(self) -> bool:
        return self._open

    async def open(self) -> None:
        self._session = b""
        self._open = True

    def settle(self, headers: bytes, *, legacy: bool) -> None:
        self._settled = headers
        self._legacy = legacy
        self._drop_kept_stream()
        if legacy and self._session:
            stream = KeptStream(self._fetch, self._take, self._lost, self._clock)
            self._stream_tried = stream.tried
            self._kept = asyncio.ensure_future(stream.run())

    async def close(self) -> None:
        self._open = False
        kept = self._drop_kept_stream()
        ending = [*self._asides, *kept]
        for aside in ending:
            aside.cancel()
        if ending:
            await asyncio.wait(ending, timeout=_CLOSE_S)
        if self._session:
            await self._end_session()
        await self._client.close()

    def on_notice(self, listener: Notice) -> None:
        self._ears.on_notice(listener)

    def on_lost(self, listener: Callable[[], None]) -> None:
        self._lost = listener

    async def notify(self, method: str, params: Mapping[str, Any], headers: bytes) -> None:
        body = dump({"jsonrpc": "2.0", "method": method, "params": params})
        reply = await self._send(body, headers, _ASIDE_S, Reading())
        refuse_status(reply, self._session, self._clock)

    async def request(
        self, method: str, params: Mapping[str, Any], headers: bytes, timeout_s: float, ear: Ear | None = None
    ) -> Any:
        number = next(self._numbers)
        answer = _Answer(number, self._take, ear)
        if method in _SESSIONLESS:
            self._session, self._legacy = b"", False
            self._drop_kept_stream()
        session = self._session
        if ear is not None and ear.listens:
            if self._alone:
                await self._listening(timeout_s)
            self._ears.enter(number, ear)
        try:
            try:
                reply = await self._send(encode(number, method, params, ear), headers, timeout_s, answer)
            except ConnectorFault as cut:
                if cut.code != "unavailable" or not answer.last_id or not self._open:
                    raise
                reply = await resumed(self._fetch, self._doze, answer, cut)
        except (asyncio.CancelledError, TimedOut) as error:
            if self._legacy and getattr(error, "sent", True):  # closing the stream says nothing to a legacy server
                self._tell_cancelled(number, headers)
            raise
        finally:
            self._ears.leave(number)
        if answer.found is None:
            answer.found = message_in(reply, number, session, self._clock)
        if method == "initialize":
            self._session = reply.headers.get(b"mcp-session-id", b"")
        return result_of(answer.found, reply.status)

    def _send(self, body: bytes, headers: bytes, timeout_s: float, reading: Reading) -> Awaitable[Reply]:
        return self._shown.send(self._head(headers), body, timeout_s, reading)

    def _head(self, headers: bytes) -> bytes:
        if self._session:
            return b"%b%bMcp-Session-Id: %b\r\n" % (self._post, headers, self._session)
        return self._post + headers

    async def _fetch(self, timeout_s: float, reading: Reading) -> Reply:
        """Read the session's own stream, or another from where `reading` ended."""
        head = self._get + self._settled
        if self._session:
            head += b"Mcp-Session-Id: %b\r\n" % self._session
        if reading.last_id:
            head += b"Last-Event-ID: %b\r\n" % reading.last_id
        return await self._shown.once(head, None, timeout_s, reading)

    async def _doze(self, seconds: float) -> None:
        nap = asyncio.ensure_future(self._clock.sleep(seconds))
        self._asides.add(nap)
        try:
            await asyncio.wait({nap})
        finally:
            nap.cancel()
            self._asides.discard(nap)
        if not self._open:
            raise Unavailable("The connection was closed.")

    def _take(self, data: bytes, ear: Ear | None) -> Mapping[str, Any] | None:
        """Take one event of a stream, `ear`'s own if there is one; return it if it is a response."""
        try:
            message = parse(data)
        except CodecError:
            return None
        if not isinstance(message, dict):
            return None
        if message.get("method") is None:
            return message
        if "id" not in message:
            self._ears.hear(message, ear)
        else:
            ear = ear or self._ears.asked()
            if message["method"] == "ping" or ear is None or not ear.ask(message, self._answer):
                self._aside(answer_to(message), self._settled)
        return None

    def _tell_cancelled(self, number: int, headers: bytes) -> None:
        params = {"requestId": number, "reason": "the caller no longer waits"}
        self._aside(dump({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}), headers)

    def _aside(self, body: bytes, headers: bytes) -> None:
        """Send something whose fate does not matter to any call."""
        if not self._open or len(self._asides) >= _MAX_ASIDES:
            return
        task = asyncio.ensure_future(self._send_aside(body, headers))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def _answer(self, body: bytes) -> None:
        await self._send_aside(body, self._settled)

    async def _send_aside(self, body: bytes, headers: bytes) -> None:
        try:
            await self._send(body, headers, _ASIDE_S, Reading())
        except ConnectorFault:
            return

    async def _end_session(self) -> None:
        head = b"%b%bMcp-Session-Id: %b\r\n" % (self._delete, self._settled, self._session)
        self._session = b""
        try:
            await self._shown.once(head, b"", _CLOSE_S, Reading())
        except ConnectorFault:
            return

    async def _listening(self, timeout_s: float) -> None:
        """Wait a moment for the session's own stream: many servers ask there, and lose what they ask before it is."""
        if self._stream_tried is not None and not self._stream_tried.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_STREAM_S, timeout_s)):
                    await self._stream_tried.wait()

    def _drop_kept_stream(self) -> list[asyncio.Task[None]]:
        kept, self._kept = self._kept, None
        if kept is None:
            return []
        kept.cancel()
        return [kept]


class _Answer(Reading):
    """Looks for the response to one request among the events of its stream."""

    __slots__ = ("_ear", "_scale", "_take", "found")

    def __init__(
        self, number: int, take: Callable[[bytes, Ear | None], Mapping[str, Any] | None], ear: Ear | None
    ) -> None:
        # Not by way of `super`: this is made for every call.
        self.endless = self.patient = ear is not None and ear.endless
        self.last_id = b""
        self.retry_ms = None
        self.ends = 0.0
        self.number = number
        self._take = take
        self._scale = ear
        self._ear = ear if ear is not None and ear.listens else None
        self.found: Mapping[str, Any] | None = None

    def answered(self, reply: Reply) -> int | None:
        if reply.status != 200:
            return self.number  # an error's id may be missing
        try:
            message = parse(reply.body)
        except CodecError:
            return None
        if not isinstance(message, dict) or "method" in message or type(message.get("id")) is not int:
            return None
        identity: int = message["id"]
        if identity == self.number:
            self.found = message
        return identity

    def event(self, data: bytes) -> bool:
        message = self._take(data, self._ear)
        if message is None:
            return False
        identity = message.get("id")
        if identity != self.number or type(identity) is not int:
            return False
        self.found = message
        return True

    def weigh(self, received: int, status: int) -> None:
        if self._scale is not None:
            self._scale.weigh(received, status)

    def stood_still(self) -> float:
        return 0.0 if self._ear is None else self._ear.stood_still()
