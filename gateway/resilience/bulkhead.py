"""A limit on how much of the gateway one server can hold."""

import asyncio
from types import TracebackType

from gateway.model.errors import LimitFault

__all__ = ["Bulkhead"]


class Bulkhead:
    """Lets `concurrency` calls in at once and `queue` more wait. Use `async with bulkhead.place(timeout_s)`."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._places = asyncio.Semaphore(concurrency)
        self._queue = queue
        self._waiting = 0

    def place(self, timeout_s: float) -> "_Place":
        """Return a place to hold for one attempt; waiting for it takes at most `timeout_s`."""
        return _Place(self, timeout_s)

    async def take(self, timeout_s: float) -> None:
        """Take a place.

        Raises:
            LimitFault: the queue is full, or no place came free in time; nothing was sent.
        """
        if not self._places.locked():
            await self._places.acquire()
            return
        if self._waiting >= self._queue:
            raise LimitFault("Too many calls wait for this server already. Try again soon.", retry_after_s=1.0)
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise LimitFault("This server is too busy; the call was not sent.", retry_after_s=1.0) from None
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        """Free a place taken."""
        self._places.release()


class _Place:
    def __init__(self, bulkhead: Bulkhead, timeout_s: float) -> None:
        self._bulkhead = bulkhead
        self._timeout_s = timeout_s

    async def __aenter__(self) -> None:
        await self._bulkhead.take(self._timeout_s)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bulkhead.give_back()
