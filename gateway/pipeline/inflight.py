"""Which claimed calls this process is carrying out, so that others can wait for one to end."""

import asyncio

__all__ = ["InFlight"]


class InFlight:
    """Calls between claim and outcome."""

    def __init__(self) -> None:
        self._ends: dict[str, asyncio.Event] = {}

    def begin(self, call_id: str) -> None:
        """Note that `call_id` was claimed by this process."""
        self._ends[call_id] = asyncio.Event()

    def end(self, call_id: str) -> None:
        """Note that the outcome of `call_id` is recorded; wakes whoever waits for it."""
        event = self._ends.pop(call_id, None)
        if event is not None:
            event.set()

    async def ended(self, call_id: str, patience_s: float) -> bool:
        """Wait until the call ends. False when `patience_s` passed first, or when nobody here carries it out."""
        event = self._ends.get(call_id)
        if event is None:
            return False
        try:
            async with asyncio.timeout(patience_s):
                await event.wait()
        except TimeoutError:
            return False
        return True

    def __len__(self) -> int:
        return len(self._ends)
