"""Server-sent events, as far as MCP needs them (WHATWG HTML §9.2.6): data, and where to go on after a break."""

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["EventStream"]

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_MAX_STREAM_FACTOR: Final = 4
_MAX_ID: Final = 1000
_MAX_RETRY_DIGITS: Final = 9
_PRINTABLE: Final = bytes(byte for byte in range(0x20, 0x100) if byte != 0x7F)


class EventStream:
    """Cuts a byte stream into events' data.

    One event may hold `limit` bytes, and the whole stream, comments and all, four times that; of one that is `endless`,
    what lies between two events may. Beyond it `overflowed` is set and nothing more comes out. `last_id` is the id of
    the last event that had one, also if it had no data, and `retry_ms` how long the server wants a client to wait
    before it comes back.
    """

    __slots__ = (
        "_after_cr", "_begun", "_data", "_endless", "_id", "_limit", "_line", "_most", "_total",
        "last_id", "overflowed", "retry_ms"
    )  # fmt: skip

    def __init__(self, limit: int, *, endless: bool = False) -> None:
        self._limit = limit
        self._most = limit * _MAX_STREAM_FACTOR
        self._endless = endless
        self._total = 0
        self._begun = False
        self._line = bytearray()
        self._data = bytearray()  # every line of it with a line feed behind
        self._id: bytes | None = None
        self._after_cr = False
        self.overflowed = False
        self.last_id = b""
        self.retry_ms: int | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of every event that `chunk` completes."""
        self._total += len(chunk)
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        if not ended:
            self._line += rest
        else:
            ended[0] = bytes(self._line) + ended[0]
            self._line = bytearray(rest)
            yield from self._take(ended)
        if len(self._data) + len(self._line) > self._limit or self._total > self._most:
            self.overflowed = True

    def _take(self, lines: list[bytes]) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if line.startswith(b"data:"):
                self._data += line[6:] if line[5:6] == b" " else line[5:]
                self._data += b"\n"
            elif not line:
                yield from self._end_event()
            elif not line.startswith(b":"):
                self._note(line)

    def _end_event(self) -> Iterator[bytes]:
        if self._id is not None:
            self.last_id, self._id = self._id, None
        if len(self._data) > 1:
            data, self._data = bytes(self._data[:-1]), bytearray()
            self._total = 0 if self._endless else self._total
            yield data
        elif self._data:
            self._data = bytearray()

    def _note(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"id" and len(value) <= _MAX_ID and not value.translate(None, _PRINTABLE):
            self._id = value
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self.retry_ms = int(value)
