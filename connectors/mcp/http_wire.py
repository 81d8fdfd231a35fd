"""MCP's Streamable HTTP transport, client side, both eras."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from connectors.mcp.ears import Ears
from connectors.mcp.http_client import HttpClient, Reading
from connectors.mcp.http_reply import Reply
from connectors.mcp.http_status import message_in, moved_to, refuse_status
from connectors.mcp.resuming import KeptStream, resumed
from connectors.mcp.showing import Request, Showing, Shown
from connectors.mcp.wire import Ear, Pending, answer_to, encode, messages_in, number_of, result_of
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
        self._ears_by_number = self._ears.listening
        self.standing = self._ears.standing
        self.on_between = self._ears.on_between
        self._numbers = itertools.count(1)
        self.alive = False
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
        self._aim()

    def _aim(self) -> None:
        target = self._client.target.encode("ascii")
        self._post = (
            b"POST %b HTTP/1.1\r\n%bAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
            % (target, self._common)
        )
        self._get = b"GET %b HTTP/1.1\r\n%bAccept: text/event-stream\r\n" % (target, self._common)
        self._delete = b"DELETE %b HTTP/1.1\r\n%b" % (target, self._common)

    async def open(self) -> None:
        self._session = b""
        self.alive = True

    def settle(self, headers: bytes, *, legacy: bool) -> None:
        self._settled = headers
        self._legacy = legacy
        self._drop_kept_stream()
        if legacy and self._session:
            stream = KeptStream(self._fetch, self._take, self._lost, self._clock)
            self._stream_tried = stream.tried
            self._kept = asyncio.ensure_future(stream.run())

    async def close(self) -> None:
        self.alive = False
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
        if method in _SESSIONLESS:
            self._session, self._legacy = b"", False
            self._drop_kept_stream()
        answer = _Answer(self, next(self._numbers), ear, self._session, headers)
        body = encode(answer.number, method, params, ear)
        if ear is not None and ear.listens:
            if self._alone:
                await self._listening(timeout_s)
            self._ears.enter(answer.number, ear)
        send = self._greet if method in _SESSIONLESS else self._send
        reply = await self._answered(answer, send(body, headers, timeout_s, answer))
        if method == "initialize":
            self._session = reply.headers.get(b"mcp-session-id", b"")
        return answer.result_of(reply)

    def begin(self, rest: bytes, headers: bytes, timeout_s: float, ear: Ear) -> "_Answer | None":
        session, lines, showing = self._session, b"", self._shown.showing
        number = next(self._numbers)
        answer = _Answer(self, number, ear, session, headers)
        if session:
            headers = b"%bMcp-Session-Id: %b\r\n" % (headers, session)
        body = b'{"jsonrpc":"2.0","id":%d,%b' % (number, rest)
        if showing is not None:
            at_hand = showing.at_hand()
            if at_hand is None:
                return None
            sent, lines = at_hand
            ends = asyncio.get_running_loop().time() + timeout_s
            answer.showing = Request(self._post + headers, body, ends), sent
        request = b"%b%b%bContent-Length: %d\r\n\r\n%b" % (self._post, headers, lines, len(body), body)
        if not self._client.begin(request, timeout_s, answer):
            return None
        if ear.listens:  # as `enter` does for a new one
            self._ears_by_number[number] = ear
            ear.number = number
        return answer

    async def _answered(self, answer: "_Answer", replying: Awaitable[Reply]) -> Reply:
        """Return what a request that was sent is answered with, a response to it found in that."""
        try:
            try:
                reply = await replying
            except ConnectorFault as cut:
                if cut.code != "unavailable" or not answer.last_id or not self.alive:
                    raise
                reply = await resumed(self._fetch, self._doze, answer, cut)
        except (asyncio.CancelledError, TimedOut) as error:
            if getattr(error, "sent", True):
                self._give_up(answer)
            raise
        finally:
            self._ears.leave(answer.number)
        if answer.found is None:
            answer.found = message_in(reply, answer.number, answer.session, self._clock)
        return reply

    async def _greet(self, body: bytes, headers: bytes, timeout_s: float, answer: "_Answer") -> Reply:
        """Send a greeting; where it is redirected but a slash away, send it there, and all else from now on."""
        reply = await self._send(body, headers, timeout_s, answer)
        if target := moved_to(reply, self._client.authority, self._client.target):
            self._client.target = target
            self._aim()
            reply = await self._send(body, headers, timeout_s, answer)
        return reply

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
        if not self.alive:
            raise Unavailable("The connection was closed.")

    def _take(self, data: bytes, ear: Ear | None, number: int = 0) -> Mapping[str, Any] | None:
        """Take one event of a stream, `ear`'s own if there is one; return the response to request `number` in it."""
        try:
            value = parse(data)
        except CodecError:
            return None
        found = None
        for message in messages_in(value):
            if message.get("method") is not None:
                self._hear(message, ear)
            elif number_of(message.get("id")) == number:
                found = message
        return found

    def _hear(self, message: Mapping[str, Any], ear: Ear | None) -> None:
        if "id" not in message:
            self._ears.hear(message, ear)
            return
        ear = ear or self._ears.asked()
        if message["method"] == "ping" or ear is None or not ear.ask(message, self._answer):
            self._aside(answer_to(message), self._settled)

    def _give_up(self, answer: "_Answer") -> None:
        """Tell a legacy server that nobody waits any longer: closing the stream says nothing to it."""
        if self._legacy:
            params = {"requestId": answer.number, "reason": "the caller no longer waits"}
            said = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            self._aside(dump(said), answer.sent_with)

    def _aside(self, body: bytes, headers: bytes) -> None:
        """Send something whose fate does not matter to any call."""
        if not self.alive or len(self._asides) >= _MAX_ASIDES:
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


class _Answer(Reading, Pending):
    """Looks for the response to one request among the events of its stream.

    The request named this `session`, and was `sent_with` these header lines besides.
    """

    found: Mapping[str, Any] | None = None
    showing: tuple[Request, Mapping[str, str]] | None = None
    """Where a credential was shown, the request with which, and what that was."""

    def __init__(self, wire: HttpWire, number: int, ear: Ear | None, session: bytes, sent_with: bytes) -> None:
        if ear is not None and ear.endless:
            self.endless = self.patient = True
        self.number = number
        self.session = session
        self.sent_with = sent_with
        self._wire = wire
        self.ear = ear

    def result(self, reply: Reply) -> dict[str, Any] | None:
        found, ear = self.found, self.ear
        if found is None or "error" in found or "result" not in found:
            return None
        result = found["result"]
        if type(result) is not dict or ("resultType" in result and result["resultType"] != "complete"):
            return None
        if ear is not None:
            if ear.still_open:
                ear.end()
            self._wire._ears_by_number.pop(self.number, None)
            ear.weigh(reply.received, reply.status)
        return result

    async def come_of(self) -> Any:
        return self.result_of(await self._wire._answered(self, self._wire._shown.reply_to(self, self.showing)))

    def result_of(self, reply: Reply) -> Any:
        """Return the result in the response that was found. Raises as `Wire.request`."""
        assert self.found is not None
        return result_of(self.found, reply.status)

    def call_off(self) -> None:
        assert self.connection is not None
        self.connection.leave(self)
        self._wire._give_up(self)
        self._wire._ears.leave(self.number)

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
        ear = self.ear
        self.found = self._wire._take(data, ear if ear is not None and ear.listens else None, self.number)
        return self.found is not None

    def weigh(self, received: int, status: int) -> None:
        if self.ear is not None:
            self.ear.weigh(received, status)

    def stood_still(self) -> float:
        return 0.0 if self.ear is None else self.ear.stood_still()
