"""Building rules beside the calls: one build at a time, of all that servers answered until it began."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from gateway.catalog.catalog import Live

__all__ = ["Builds"]


class Builds:
    """Has rules built whenever servers answered otherwise than before; what they answer meanwhile is built from next.

    A list of thousands takes seconds. Calls go on meanwhile by the rules in force, so `due` says of which servers these
    do not know the last answer. `turn` is held by whoever builds.
    """

    def __init__(self, build: Callable[[], Awaitable[None]]) -> None:
        self.turn = asyncio.Lock()
        self.due: frozenset[str] = frozenset()
        self._build = build
        self._known: Mapping[str, Live] = {}
        self._next: asyncio.Task[None] | None = None
        self._last: asyncio.Task[None] | None = None
        self._rounds: set[asyncio.Task[None]] = set()

    def ask(self, live: Mapping[str, Live]) -> None:
        """Have rules built, for these are the servers' answers by now."""
        self._look(live)
        if self._next is None:
            self._begin()

    def built_from(self, known: Mapping[str, Live], live: Mapping[str, Live]) -> None:
        """Take note that rules built from the answers `known` are in force, and `live` are the answers by now."""
        self._known = known
        self._look(live)

    async def done(self) -> None:
        """Wait until what was asked for so far is in force; what failed is tried again. Raises what building raised."""
        if self._last is not None:
            if self._last.done() and self._last.exception() is not None:
                self._begin()
            await asyncio.shield(self._last)

    async def close(self) -> None:
        """Build no more."""
        rounds = frozenset(self._rounds)
        for each in rounds:
            each.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)

    def _begin(self) -> None:
        self._next = self._last = asyncio.get_running_loop().create_task(self._round())
        self._rounds.add(self._last)
        self._last.add_done_callback(self._rounds.discard)

    async def _round(self) -> None:
        async with self.turn:
            self._next = None  # what is answered from here on is for the next one
            await self._build()

    def _look(self, live: Mapping[str, Live]) -> None:
        self.due = frozenset(name for name, answer in live.items() if self._known.get(name) is not answer)
