"""Plain HTTP answers, and those that need no parser because one with the same head was parsed before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["KnownHeads", "Reply", "what_follows"]

_END: Final = b"\r\n\r\n"
_KNOWN_HEADS: Final = 128
_KNOWN_HEAD: Final = 2048


@dataclass(slots=True)  # not frozen: one is made for every call, and to freeze its fields takes twice as long
class Reply:
    """One answer, which nobody changes. Header names are lower-case; of repeated headers the last counts.

    `body` is one event of a stream. `received` is how many bytes of a body came, up to then.
    """

    status: int
    headers: Mapping[bytes, bytes] = field(repr=False)
    body: bytes = field(repr=False)
    received: int = 0


class KnownHeads:
    """The heads of plain answers that were parsed before, by their bytes: headers, and the length of the body."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Mapping[bytes, bytes], int]] = {}

    def reply(self, data: bytes) -> Reply | None:
        """Return the answer that `data` is, if it is one, whole, and with a known head."""
        end = data.find(_END) + 4
        known = self._known.get(data[:end])
        if known is None:
            return None
        headers, length = known
        return Reply(200, headers, data[end:], length) if length == len(data) - end else None

    def learn(self, data: bytes, headers: Mapping[bytes, bytes]) -> None:
        """Remember the head of an answer of status 200, if `data` is that answer, the whole of it."""
        end = data.find(_END) + len(_END)
        head = data[:end]
        if headers.get(b"content-length") != b"%d" % (len(data) - end) or b"transfer-encoding" in headers:
            return
        if end > _KNOWN_HEAD or not head.startswith(b"HTTP/1.1 200") or head.count(b"\n") != head.count(b"\r\n"):
            return  # the first empty line may not be where the parser saw the end
        if len(self._known) >= _KNOWN_HEADS:
            self._known.clear()
        self._known[head] = headers, len(data) - end


def what_follows(data: bytes, headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return what comes after the answer with these headers that `data` begins with; None if that cannot be told."""
    length = headers.get(b"content-length")
    end = data.find(_END) + len(_END)
    head = data[:end]
    if length is None or not length.isdigit() or not head.endswith(_END) or head.count(b"\n") != head.count(b"\r\n"):
        return None
    return data[end + int(length) :]
