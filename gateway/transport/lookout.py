"""Looks after requests that take long enough for it to be worth looking, with one timer for all of them."""

import asyncio
from typing import Final, Protocol

__all__ = ["Lookout", "Watched"]

_AFTER_S: Final = 0.025


class Watched(Protocol):
    """A request under way."""

    def look_after(self) -> None:
        """Take note that it has taken long: called once, while it is under way."""
        ...


class Lookout:
    """Knows the requests under way: those that came since it last looked, and those that it has seen once.

    It looks every `after_s` seconds while there are any, so that each is looked after once it has taken that long, and
    before it has taken twice as long.
    """

    def __init__(self, after_s: float = _AFTER_S) -> None:
        self._after_s = after_s
        self._new: set[Watched] = set()
        self._seen: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, request: Watched) -> None:
        """Have a request looked after if it is not over after a while."""
        self._new.add(request)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, self._look)

    def drop(self, request: Watched) -> None:
        """Take note that a request is over."""
        self._new.discard(request)
        self._seen.discard(request)

    def _look(self) -> None:
        late, self._seen, self._new = self._seen, self._new, set()
        waits = bool(self._seen)
        self._timer = asyncio.get_running_loop().call_later(self._after_s, self._look) if waits else None
        for request in late:
            request.look_after()
