"""Which answers have reached their callers, also while that is still on its way to the disk.

No event tells of it, and a call that was answered is made anew when it comes again: whoever could write into the file
that answers arrived would have effects made twice. So what stands there is a mark that needs the gateway's own key: the
attempt, and under it a tag of the call and the attempt. To take a mark away only has a call answered from the record.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from gateway.store.ports import Recorded

__all__ = ["Delivering"]

_TAG_BYTES: Final = 5
_TAG_BITS: Final = 8 * _TAG_BYTES


class Delivering:
    """Deliveries that are noted, but perhaps not written; a reading never misses one that was noted before it began."""

    def __init__(self, key: bytes = b"") -> None:
        self._marking = blake2b(b"toolgate deliveries\0" + key, digest_size=_TAG_BYTES)
        self._noted: dict[str, int] = {}
        self._written = 0

    def note(self, call_id: str, attempt: int) -> None:
        """Take note that the answer of a call has reached its caller, in this attempt at its run."""
        self._noted[call_id] = attempt

    def __bool__(self) -> bool:
        return bool(self._noted)

    def to_write(self) -> Mapping[str, int]:
        """Return what is to be written, by call: the attempt in which its answer arrived."""
        return self._noted.copy()

    def mark(self, call_id: str, attempt: int) -> int:
        """Return what is written of a delivery; that of a later attempt is larger."""
        marking = self._marking.copy()
        marking.update(f"{call_id} {attempt}".encode())
        return attempt << _TAG_BITS | int.from_bytes(marking.digest(), "big")

    def marks(self, attempts: Mapping[str, int]) -> list[tuple[int, str]]:
        """Return what is written of deliveries, each with its call."""
        return [(self.mark(call_id, attempt), call_id) for call_id, attempt in attempts.items()]

    def written(self, attempts: Mapping[str, int]) -> None:
        """Take note that these are on the disk."""
        self._written += 1
        for call_id, attempt in attempts.items():
            if self._noted.get(call_id) == attempt:  # else a later attempt is still to be written
                del self._noted[call_id]

    async def reading(self, read: Callable[[], Awaitable[Recorded | None]]) -> Recorded | None:
        """Return what `read` finds, and of it that it was delivered."""
        before = self._written
        found = await read()
        if found is None:
            return None
        if found.call_id not in self._noted and self._written != before:
            found = await read() or found  # what was written since may be just this delivery
        return self.of(found)

    def of(self, recorded: Recorded) -> Recorded:
        """Return a call as it is read, its mark, with what is known of its delivery."""
        attempt = self._noted.get(recorded.call_id)
        if attempt is None:
            if not recorded.delivered:
                return recorded
            attempt = recorded.delivered >> _TAG_BITS
            if self.mark(recorded.call_id, attempt) != recorded.delivered:
                attempt = 0
        return replace(recorded, delivered=attempt)
