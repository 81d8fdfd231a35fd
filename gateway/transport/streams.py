"""Event streams towards a client (WHATWG HTML §9.2), which may be read again from any event that is still kept."""

import asyncio
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, Final

from starlette.types import Send

from gateway.codec import CodecError, dump, parse

__all__ = ["EventStream", "Shelf", "Streams", "request_of", "send_stream"]

_KEEP_ALIVE_S: Final = 15.0
_MAX_EVENTS: Final = 1000
_MAX_BYTES: Final = 4 * 1024 * 1024
_KEPT_EVENTS: Final = 256
_KEPT_BYTES: Final = 256 * 1024
_SHELF_BYTES: Final = 32 * 1024 * 1024
_LONGEST_ID: Final = 64
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """What is to be said on one stream. Of a lasting one, which has an id, the latest events that were read are kept.

    A reader who is slow, or away, loses notifications beyond a bound, never a result or a question.
    """

    def __init__(self, stream_id: str = "", closed: "Callable[[EventStream], None] | None" = None) -> None:
        self.id = stream_id
        self.reader = 0
        self.when_read: Callable[[], Awaitable[None]] | None = None
        """Awaited once a reader has been sent everything to the end."""
        self._when_closed = closed
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self._first = 0
        self._read = 0
        self._closed = False
        self._waker = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Tell whether nothing more will be said."""
        return self._closed

    @property
    def size(self) -> int:
        """How many bytes are kept."""
        return self._bytes

    @property
    def unread(self) -> int:
        """The position of the first event that no reader has got."""
        return self._read

    def holds(self, position: int) -> bool:
        """Tell whether there is, or next will be, an event at a position."""
        return 0 <= position <= self._end

    def say(self, message: Mapping[str, Any], *, droppable: bool = False) -> None:
        """Add a JSON-RPC message."""
        crowded = self._end - self._read >= _MAX_EVENTS or self._bytes >= _MAX_BYTES
        if self._closed or (droppable and crowded):
            return
        self._add(b"event: message\n%bdata: %b\n\n" % (self._label(), dump(message)))

    def prime(self) -> None:
        """Let the reader know where to come back to before there is anything to say.

        Not when: the Java SDK 1 takes a stream that says `retry:` for broken, and the others wait a second anyway.
        """
        self._add(b"%bdata: \n\n" % self._label())

    def close(self) -> None:
        """Say that nothing more will come."""
        if not self._closed:
            self._closed = True
            self._waker.set()
            if self._when_closed is not None:
                self._when_closed(self)

    def dismiss(self) -> int:
        """Have whoever reads end its response; return the number of the reader that may come now."""
        self.reader += 1
        self._waker.set()
        return self.reader

    async def news(self, position: int, patience_s: float = _KEEP_ALIVE_S) -> bool:
        """Wait until there may be something to read at `position`; False when there was nothing for a while."""
        if position >= self._end and not self._closed:
            self._waker.clear()
            try:
                async with asyncio.timeout(patience_s):
                    await self._waker.wait()
            except TimeoutError:
                return False
        return True

    def take(self, position: int) -> tuple[bytes, int]:
        """Return what is there to be read from `position` on, and the position after it."""
        start = max(position, self._first)
        chunk = b"".join(islice(self._events, start - self._first, None))
        self._read = self._end
        self._forget()
        return chunk, self._end

    @property
    def _end(self) -> int:
        return self._first + len(self._events)

    def _label(self) -> bytes:
        return f"id: {self.id}.{self._end}\n".encode() if self.id else b""

    def _add(self, event: bytes) -> None:
        self._events.append(event)
        self._bytes += len(event)
        self._forget()
        self._waker.set()

    def _forget(self) -> None:
        """Drop what was read, beyond what a reader who comes back may ask for: of the latest, at least one."""
        most, size = (_KEPT_EVENTS, _KEPT_BYTES) if self.id else (0, 0)
        while self._first < self._read and len(self._events) > min(most, 1):
            if len(self._events) <= most and self._bytes <= size:
                return
            self._bytes -= len(self._events.popleft())
            self._first += 1


class Shelf:
    """What the ended streams of all sessions keep for a client that comes back: beyond `limit` bytes the oldest go."""

    def __init__(self, limit: int = _SHELF_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[dict[str, EventStream], int]] = OrderedDict()

    def put(self, stream: EventStream, owner: dict[str, EventStream]) -> None:
        """Keep a stream that has ended, which is in `owner` by its id until it is dropped."""
        self._kept[stream.id] = owner, stream.size
        self._bytes += stream.size
        while self._bytes > self._limit and len(self._kept) > 1:
            self.drop(next(iter(self._kept)))

    def drop(self, stream_id: str) -> None:
        """Forget a stream."""
        owner, size = self._kept.pop(stream_id, ({}, 0))
        self._bytes -= size
        owner.pop(stream_id, None)


class Streams:
    """The lasting streams of one session: of those that have ended, the latest `limit` stay as long as `shelf` lets."""

    __slots__ = ("_limit", "_shelf", "_streams")

    def __init__(self, shelf: Shelf, limit: int = 16) -> None:
        self._shelf = shelf
        self._limit = limit
        self._streams: dict[str, EventStream] = {}

    def open(self, request_id: str | int | None = None) -> EventStream:
        """Return a new stream for a request's answer, or the session's own; `request_of` its event ids says which."""
        random = secrets.token_urlsafe(9).replace("-", "_")
        stream = EventStream(f"{random}-{_told(request_id)}", self._ended)
        self._streams[stream.id] = stream
        return stream

    def find(self, event_id: str) -> tuple[EventStream, int] | None:
        """Return the stream an event was on, and the position after it."""
        stream_id, _, number = event_id.rpartition(".")
        stream = self._streams.get(stream_id)
        if stream is None or not (number.isascii() and number.isdigit() and len(number) < 10):
            return None
        position = int(number) + 1
        return (stream, position) if stream.holds(position) else None

    def close(self) -> None:
        """Close every stream, and keep none."""
        for stream in list(self._streams.values()):
            stream.close()
            self._shelf.drop(stream.id)
        self._streams.clear()

    def _ended(self, stream: EventStream) -> None:
        self._shelf.put(stream, self._streams)
        ended = [each.id for each in self._streams.values() if each.closed]
        for stream_id in ended[: max(len(ended) - self._limit, 0)]:
            self._shelf.drop(stream_id)


def request_of(event_id: str) -> tuple[str | int | None] | None:
    """Return the id of the request that an event's stream answers, in a tuple; `(None,)` for a session's own stream.

    None where it cannot be told.
    """
    told = event_id.rpartition(".")[0].partition("-")[2]
    try:
        request_id = parse(urlsafe_b64decode(told.encode()))
    except (ValueError, CodecError):
        return None
    known = request_id is None or isinstance(request_id, str) or type(request_id) is int
    return (request_id,) if known else None


def _told(request_id: str | int | None) -> str:
    told = urlsafe_b64encode(dump(request_id)).decode()
    return told if len(told) <= _LONGEST_ID else "_"


async def send_stream(
    send: Send, stream: EventStream, position: int = 0, *, keep_alive_s: float = _KEEP_ALIVE_S
) -> None:
    """Send a stream from `position` to its end, or until another reader takes over."""
    mine = stream.dismiss()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    while True:
        told = await stream.news(position, keep_alive_s)
        if stream.reader != mine:
            break
        chunk, position = stream.take(position) if told else (b": \n\n", position)
        if chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        elif stream.closed:
            break
    await send({"type": "http.response.body", "body": b""})
    if stream.reader == mine and stream.when_read is not None:
        read, stream.when_read = stream.when_read, None
        await read()
