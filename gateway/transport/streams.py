"""Event streams towards a client (WHATWG HTML §9.2), which may be read again from any event that is still kept."""

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Send

from gateway.codec import dump

__all__ = ["EventStream", "Streams", "send_stream"]

_KEEP_ALIVE_S: Final = 15.0
_MAX_EVENTS: Final = 1000
_MAX_BYTES: Final = 4 * 1024 * 1024
_RETRY_MS: Final = 1000
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """What is to be said on one stream. Of a `lasting` one the latest events are kept for a reader who comes back.

    A reader who is slow loses notifications beyond a bound, never a result or a question.
    """

    def __init__(self, *, lasting: bool = False) -> None:
        self.id = secrets.token_urlsafe(9) if lasting else ""
        self.reader = 0
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

    def say(self, message: Mapping[str, Any], *, droppable: bool = False) -> None:
        """Add a JSON-RPC message."""
        crowded = self._end - self._read >= _MAX_EVENTS or self._bytes >= _MAX_BYTES
        if self._closed or (droppable and crowded):
            return
        self._add(b"event: message\n%bdata: %b\n\n" % (self._label(), dump(message)))

    def prime(self) -> None:
        """Let the reader know where to come back to before there is anything to say."""
        if self.id and self._end == 0:
            self._add(b"%bretry: %d\ndata: \n\n" % (self._label(), _RETRY_MS))

    def close(self) -> None:
        """Say that nothing more will come."""
        self._closed = True
        self._waker.set()

    def wake(self) -> None:
        """Have a reader look again whether it is still the one."""
        self._waker.set()

    async def next(self, position: int) -> tuple[bytes, int] | None:
        """Return what is to be read from `position` on and the position after it; None at the end of the stream.

        Empty after a while in which nothing was said.
        """
        if position >= self._end and not self._closed:
            self._waker.clear()
            try:
                async with asyncio.timeout(_KEEP_ALIVE_S):
                    await self._waker.wait()
            except TimeoutError:
                return b": \n\n", position
        if position >= self._end:
            return None if self._closed else (b"", position)
        start = max(position, self._first)
        chunk = b"".join(list(self._events)[start - self._first :])
        self._read = self._end
        self._forget()
        return chunk, self._read

    @property
    def _end(self) -> int:
        return self._first + len(self._events)

    def _label(self) -> bytes:
        return f"id: {self.id}.{self._end}\n".encode() if self.id else b""

    def _add(self, event: bytes) -> None:
        self._events.append(event)
        self._bytes += len(event)
        self._waker.set()

    def _forget(self) -> None:
        """Drop what was read, beyond what a reader who comes back may ask for."""
        while self._events and self._first < self._read:
            if self.id and len(self._events) <= _MAX_EVENTS and self._bytes <= _MAX_BYTES:
                return
            self._bytes -= len(self._events.popleft())
            self._first += 1


class Streams:
    """The lasting streams of one session: at most `limit`, the oldest that have ended go first."""

    def __init__(self, limit: int = 16) -> None:
        self._limit = limit
        self._streams: dict[str, EventStream] = {}

    def open(self) -> EventStream:
        """Return a new lasting stream."""
        stream = EventStream(lasting=True)
        self._streams[stream.id] = stream
        ended = [each for each in self._streams.values() if each.closed]
        for old in ended[: max(len(self._streams) - self._limit, 0)]:
            del self._streams[old.id]
        return stream

    def find(self, event_id: str) -> tuple[EventStream, int] | None:
        """Return the stream an event was on, and the position after it."""
        stream_id, _, number = event_id.rpartition(".")
        stream = self._streams.get(stream_id)
        if stream is None or not (number.isascii() and number.isdigit() and len(number) < 10):
            return None
        return stream, int(number) + 1


async def send_stream(
    send: Send, stream: EventStream, position: int = 0, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Send a stream from `position` to its end, or until another reader takes over."""
    stream.reader += 1
    mine = stream.reader
    stream.wake()
    await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]})
    while (found := await stream.next(position)) is not None and stream.reader == mine:
        chunk, position = found
        if chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
