"""Threads that stay for the next piece of work: to start one takes longer than to carry a request."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["Crew"]


class Crew:
    """As many threads as there was work at once; they end with the process, or once they are dismissed."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle: list[bool] = []  # one for each who waits; added to, and taken from, in one step each

    def begin(self, work: Callable[[], None]) -> None:
        """Have it done by whoever is idle, or else by one more. To be called by one thread only."""
        if self._idle:
            self._idle.pop()
        else:
            threading.Thread(target=self._serve, daemon=True).start()
        self._work.put(work)

    def dismiss(self) -> None:
        """Let go whoever is idle."""
        while self._idle:
            self._idle.pop()
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # it knows a request, and the next one may be far away
            self._idle.append(True)
