"""Which answers have reached their callers, while that is still on its way to the disk."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.store.ports import Recorded

__all__ = ["Delivering"]


class Delivering:
    """Deliveries that are noted, but perhaps not written; a reading never misses one that was noted before it began."""

    def __init__(self) -> None:
        self._noted: dict[str, int] = {}
        self._written = 0

    def note(self, call_id: str, attempt: int) -> None:
        """Take note that the answer of a call has reached its caller, in this attempt at its run."""
        self._noted[call_id] = attempt

    def written(self, call_id: str, attempt: int) -> None:
        """Take note that this is on the disk."""
        self._written += 1
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
        """Return a call as it is read, with what is noted of its delivery."""
        attempt = self._noted.get(recorded.call_id)
        return recorded if attempt is None else replace(recorded, delivered=attempt)
