"""Looks after requests that take long enough for it to be worth looking, with one timer for all of them."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Entry", "Lookout"]

_AFTER_S: Final = 0.05


class Entry:
    """One request under way. `begin` is called once it has taken long, unless it is `over` by then."""

    __slots__ = ("begin", "due", "over")

    def __init__(self, begin: Callable[[], None], due: float) -> None:
        self.begin = begin
        self.due = due
        self.over = False


class Lookout:
    """Knows requests in the order they came, which is the order in which they come to take long."""

    def __init__(self, after_s: float = _AFTER_S) -> None:
        self._after_s = after_s
        self._entries: deque[Entry] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, begin: Callable[[], None]) -> Entry:
        """Have `begin` called if what is beginning now is not over after a while."""
        loop = asyncio.get_running_loop()
        entry = Entry(begin, loop.time() + self._after_s)
        self._entries.append(entry)
        if self._timer is None:
            self._timer = loop.call_at(entry.due, self._look)
        return entry

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        while self._entries:
            entry = self._entries[0]
            if not entry.over and entry.due > now:
                self._timer = loop.call_at(entry.due, self._look)
                return
            self._entries.popleft()
            if not entry.over:
                entry.begin()
