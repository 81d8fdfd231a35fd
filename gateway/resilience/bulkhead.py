"""A limit on how much of the gateway one server can hold."""

import asyncio

from gateway.model.errors import LimitFault

__all__ = ["Bulkhead"]


class Bulkhead:
    """Lets `concurrency` calls in at once and `queue` more wait. Every place taken is given back."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._places = asyncio.Semaphore(concurrency)
        self._queue = queue
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether a call would have to wait for a place."""
        return self._places.locked()

    async def take(self, timeout_s: float) -> None:
        """Take a place; waiting for it takes at most `timeout_s`.

        Raises:
            LimitFault: the queue is full, or no place came free in time; nothing was sent.
        """
        if not self.full:
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
