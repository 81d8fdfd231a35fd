"""Looks after requests that take long enough for it to be worth looking, with a timer or two for all of them."""

import asyncio
from typing import Final, Protocol

__all__ = ["Lookout", "Watched"]

_AFTER_S: Final = 0.025


class Watched(Protocol):
    """A request under way."""

    def look_after(self) -> float | None:
        """Take note that it has taken long: called once, while it is under way.

        Return after how many seconds more it `lasts`, if that matters.
        """
        ...

    def lasts(self) -> None:
        """Take note that it is still under way then."""
        ...


class Lookout:
    """Knows the requests under way: those that came since it last looked, those that it has seen once, and the others.

    It looks every `after_s` seconds while there are any, so that each is looked after once it has taken that long, and
    before it has taken twice as long.
    """

    def __init__(self, after_s: float = _AFTER_S) -> None:
        self._after_s = after_s
        self._new: set[Watched] = set()
        self._seen: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._others: dict[Watched, float] = {}  # and when each of them lasts
        self._next: asyncio.TimerHandle | None = None

    def add(self, request: Watched) -> None:
        """Have a request looked after if it is not over after a while."""
        self._new.add(request)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, self._look)

    def drop(self, request: Watched) -> None:
        """Take note that a request is over."""
        self._new.discard(request)
        self._seen.discard(request)
        self._others.pop(request, None)

    def _look(self) -> None:
        late, self._seen, self._new = self._seen, self._new, set()
        waits = bool(self._seen)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._after_s, self._look) if waits else None
        for request in late:
            more_s = request.look_after()
            if more_s is not None:
                self._others[request] = ends = loop.time() + more_s
                if self._next is None or ends < self._next.when():
                    self._wait_until(ends)

    def _wait_until(self, ends: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_at(ends, self._tell)

    def _tell(self) -> None:
        self._next, now = None, asyncio.get_running_loop().time()
        for request in [request for request, ends in self._others.items() if ends <= now]:
            del self._others[request]
            request.lasts()
        if self._others and self._next is None:
            self._wait_until(min(self._others.values()))
