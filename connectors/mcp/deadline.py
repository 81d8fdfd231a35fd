"""Until when a call may take, on a clock that stands still while the client is asked."""

from typing import Final

from gateway.connector import Clock

__all__ = ["MOST_STILL_S", "Deadline"]

MOST_STILL_S: Final = 900.0
"""How long a call's clock may stand still altogether, in seconds."""


class Deadline:
    """What is left of a call's time."""

    __slots__ = ("_clock", "_ends", "_pauses", "_still_from", "_still_s")

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._ends = clock.monotonic() + timeout_s
        self._still_s = 0.0
        self._still_from = 0.0
        self._pauses = 0

    def left(self) -> float:
        """Return how many seconds are left; never negative."""
        still = self.stood_still() if self._pauses else self._still_s
        left = self._ends + still - self._clock.monotonic()
        return left if left > 0.0 else 0.0

    def stood_still(self) -> float:
        """Return for how many seconds the clock has been stopped, also while it is."""
        return self._still_s + (self._clock.monotonic() - self._still_from if self._pauses else 0.0)

    def pause(self) -> None:
        """Stop the clock, until as many `resume` as `pause`."""
        if not self._pauses:
            self._still_from = self._clock.monotonic()
        self._pauses += 1

    def resume(self) -> None:
        """Take one `pause` back."""
        self._pauses -= 1
        if not self._pauses:
            self._still_s += self._clock.monotonic() - self._still_from
