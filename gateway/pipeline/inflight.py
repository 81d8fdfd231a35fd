"""Which claimed calls this process is carrying out, so that others can wait for one to end."""

import asyncio
from collections import deque
from typing import Final

__all__ = ["InFlight", "again"]

_RECENT: Final = 1000


def again(call_id: str) -> str:
    """Return what a call in doubt is noted as while it is made again."""
    return f"{call_id} again"


class InFlight:
    """Calls between claim and outcome, and those that ended just now."""

    def __init__(self) -> None:
        self._ends: dict[str, asyncio.Event | None] = {}  # None while nobody waits for it
        self._recent: deque[str] = deque(maxlen=_RECENT)

    def begin(self, call_id: str) -> None:
        """Note that `call_id` was claimed by this process."""
        self._ends[call_id] = None

    def end(self, call_id: str, *, recorded: bool = True) -> None:
        """Note that nobody carries `call_id` out any more, and whether its outcome is `recorded`; wakes who waits."""
        if call_id not in self._ends:
            return
        event = self._ends.pop(call_id)
        if event is not None:
            event.set()
        if recorded:
            self._recent.append(call_id)

    def carries(self, call_id: str) -> bool:
        """Tell whether this process is carrying the call out."""
        return call_id in self._ends

    async def ended(self, call_id: str, patience_s: float) -> bool:
        """Wait until the call ends. False when `patience_s` passed first, or when nobody here carries it out.

        True at once for a call that ended just now: whoever asks may have read the ledger a moment before that.
        """
        if call_id not in self._ends:
            return call_id in self._recent
        event = self._ends[call_id]
        if event is None:
            event = self._ends[call_id] = asyncio.Event()
        try:
            async with asyncio.timeout(patience_s):
                await event.wait()
        except TimeoutError:
            return False
        return True

    def __len__(self) -> int:
        return len(self._ends)
