"""A part of the store as this process knows it, at most a second old, so that nothing is read to check a credential."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import Final

from gateway.model.clock import Clock
from gateway.model.errors import StoreFault

__all__ = ["LEARN_S", "MAX_AGE_S", "POLL_S", "READ_S", "Picture"]

POLL_S: Final = 0.5
MAX_AGE_S: Final = 5.0
LEARN_S: Final = 0.1
READ_S: Final = 2.0


class Picture(ABC):
    """What is in the store, in memory.

    `watch` renews it every POLL_S seconds: what another process does counts within one second. A picture older than
    MAX_AGE_S seconds is not believed. `generation` counts the changes.
    """

    def __init__(self, what: str, clock: Clock, *, read_s: float = READ_S) -> None:
        self._what = what
        self._clock = clock
        self._read_s = read_s
        self._read_at = float("-inf")
        self._looked_at = float("-inf")
        self._next_look: asyncio.Task[None] | None = None
        self.generation = 0

    @abstractmethod
    async def read(self) -> tuple[bool, bool]:
        """Read the store, or the next part of it; tell whether anything was new, and whether more is left to read.

        Raises:
            StoreFault: it cannot be read.
        """

    async def refresh(self) -> None:
        """Read now. The first time may take ten times as long: a gateway is to start on a busy machine too.

        Raises:
            StoreFault: it cannot be read; the picture stays as it is.
        """
        within_s = self._read_s * (10 if self._read_at == float("-inf") else 1)
        more = True
        while more:
            began = self._clock.monotonic()
            try:
                async with asyncio.timeout(within_s):
                    is_new, more = await self.read()
            except TimeoutError:
                detail = f"reading the {self._what} timed out"
                raise StoreFault(f"The gateway cannot read its {self._what}.", detail=detail) from None
            self.generation += is_new
        self._read_at = began

    async def watch(self) -> None:
        """Keep the picture fresh until cancelled. An unreadable store is not an error here: `believe` refuses."""
        while True:
            with contextlib.suppress(StoreFault):
                await self.refresh()
            await self._clock.sleep(POLL_S)

    async def look_again(self) -> None:
        """Return once the store was read after this was asked, LEARN_S seconds or more after it was read before.

        So a credential works as soon as it was made, and a flood of made-up ones costs ten reads a second.

        Raises:
            StoreFault: it cannot be read.
        """
        if self._read_at >= self._clock.monotonic():
            return
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look())
        await asyncio.shield(self._next_look)

    async def _look(self) -> None:
        left = max(self._looked_at, self._read_at) + LEARN_S - self._clock.monotonic()
        if left > 0:
            await self._clock.sleep(left)
        self._next_look, self._looked_at = None, self._clock.monotonic()  # what is made from now on is for the next one
        await self.refresh()

    def believe(self) -> None:
        """Raise `StoreFault` when the picture is too old to be believed."""
        if self._clock.monotonic() - self._read_at > MAX_AGE_S:
            raise StoreFault(f"The gateway cannot check {self._what} right now. Try again.", retry_after_s=1.0)
