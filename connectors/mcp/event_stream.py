"""Server-sent events, as far as MCP needs them (WHATWG HTML §9.2.6): the data of each event."""

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["EventStream"]

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_MAX_STREAM_FACTOR: Final = 4


class EventStream:
    """Cuts a byte stream into events' data.

    One event may hold `limit` bytes, and the whole stream, comments and all, four times that. Beyond it `overflowed`
    is set and nothing more comes out.
    """

    __slots__ = ("_after_cr", "_data", "_limit", "_line", "_size", "_total", "overflowed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._size = 0
        self._line = bytearray()
        self._data: list[bytes] = []
        self._after_cr = False
        self.overflowed = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of every event that `chunk` completes."""
        self._total += len(chunk)
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        first, *others = _LINE_END.split(chunk)
        self._line += first
        for following in others:
            line, self._line = bytes(self._line), bytearray(following)
            if line.startswith(b"data:"):
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                data, self._data, self._size = b"\n".join(self._data), [], 0
                yield data
        if self._size + len(self._line) > self._limit or self._total > self._limit * _MAX_STREAM_FACTOR:
            self.overflowed = True

    def _add(self, data: bytes) -> None:
        self._size += len(data) + 1
        self._data.append(data)
