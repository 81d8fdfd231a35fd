"""Ends waits that outlast their time, with one timer for all of them: it looks a few times a second."""

import asyncio
from typing import Any, Final

from gateway.model.back import NOBODY, Back

__all__ = ["Overseer", "Wait"]

_PACE_S: Final = 0.25


class Wait:
    """One task that may wait until `ends`, on the loop's clock, and longer by what the client behind `back` is asked.

    `passed` says that it was cancelled for it.
    """

    __slots__ = ("back", "ends", "passed", "task")

    def __init__(self, task: "asyncio.Task[Any]", ends: float, back: Back) -> None:
        self.task = task
        self.ends = ends
        self.back = back
        self.passed = False

    def is_over(self, now: float) -> bool:
        """Tell whether its time has passed."""
        return self.ends <= now and self.ends + self.back.stood_still() <= now


class Overseer:
    """Cancels what takes too long; up to a quarter of a second late."""

    def __init__(self) -> None:
        self._waits: set[Wait] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, timeout_s: float, back: Back = NOBODY) -> Wait:
        """Have the current task cancelled after `timeout_s`, unless it has come to an `end` by then.

        The time in which the client behind `back` is asked something does not count.
        """
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        wait = Wait(task, loop.time() + timeout_s, back)
        self._waits.add(wait)
        if self._timer is None:
            self._timer = loop.call_later(max(min(timeout_s, _PACE_S), 0.0), self._look)
        return wait

    def end(self, wait: Wait) -> None:
        """Leave the task alone from now on."""
        self._waits.discard(wait)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for wait in [each for each in self._waits if each.is_over(now)]:
            self._waits.discard(wait)
            wait.passed = True
            wait.task.cancel()
        self._timer = loop.call_later(_PACE_S, self._look) if self._waits else None
