"""A limit on how much of the gateway one server can hold."""

import asyncio
from collections import deque

from gateway.model.errors import LimitFault

__all__ = ["Bulkhead"]


class Bulkhead:
    """Lets `concurrency` calls in at once and `queue` more wait, in turn. Every place taken is given back."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._free = concurrency
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether a place is free that nobody waits for."""
        return self._free > 0 and not self._waiting

    def take_now(self) -> bool:
        """Take a place if there is one that nobody waits for."""
        if self._free <= 0 or self._waiting:
            return False
        self._free -= 1
        return True

    async def take(self, timeout_s: float) -> None:
        """Take a place; waiting for it takes at most `timeout_s`.

        Raises:
            LimitFault: the queue is full, or no place came free in time; nothing was sent.
        """
        if self.take_now():
            return
        if len(self._waiting) >= self._queue:
            raise LimitFault("Too many calls wait for this server already. Try again soon.", retry_after_s=1.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                self.give_back()  # its turn came as it gave up
            if isinstance(error, TimeoutError):
                raise LimitFault("This server is too busy; the call was not sent.", retry_after_s=1.0) from None
            raise

    def give_back(self) -> None:
        """Free a place taken, or hand it to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
