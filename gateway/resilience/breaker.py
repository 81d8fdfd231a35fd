"""A circuit breaker: after too many failures a server is left alone for a while."""

from collections import deque
from collections.abc import Collection, Sequence
from enum import StrEnum

from gateway.model.clock import Clock
from gateway.resilience.config import ResilienceConfig

__all__ = ["Breaker", "BreakerState", "too_many"]


class BreakerState(StrEnum):
    """`closed` lets calls through, `open` none, `half_open` one that decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens at a failure rate over the last calls; after a pause one call may probe and close it or open it again."""

    def __init__(self, clock: Clock, settings: ResilienceConfig) -> None:
        self._clock = clock
        self._settings = settings
        self._failures: deque[bool] = deque(maxlen=settings.breaker_calls)
        self._since_failure = 0
        """How many calls have not failed since one did, or since the first: of those that count, one did if fewer."""
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """How the breaker stands now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._left() > 0 else BreakerState.HALF_OPEN

    @property
    def lately(self) -> Sequence[bool]:
        """The last calls, the newest last: whether each failed."""
        return tuple(self._failures)

    def wait_s(self) -> float | None:
        """Ask to make a call: None lets it through, a number is how long to wait before asking again, in seconds.

        Every call let through must be followed by exactly one `record` or `forget`.
        """
        if self._opened_at is None:
            return None
        state = self.state
        if state is BreakerState.HALF_OPEN and not self._probing:
            self._probing = True
            return None
        return max(self._left(), 1.0)

    def record(self, failed: bool) -> None:
        """Learn how a call ended that was let through."""
        if self._opened_at is None:
            self._failures.append(failed)
            self._since_failure = 0 if failed else self._since_failure + 1
            if self._since_failure < len(self._failures) and self._trips():
                self._opened_at = self._clock.monotonic()
        elif self._probing:  # else it was let through before the breaker opened
            self._probing = False
            self._opened_at = self._clock.monotonic() if failed else None
            self._failures.clear()
            self._since_failure = 0

    def forget(self) -> None:
        """A call that was let through ended without telling anything of the server."""
        self._probing = False

    def _trips(self) -> bool:
        minimum = min(self._settings.breaker_min_calls, self._settings.breaker_calls)
        return too_many(self._failures, minimum, self._settings.breaker_failure_rate)

    def _left(self) -> float:
        opened = self._opened_at if self._opened_at is not None else 0.0
        return opened + self._settings.breaker_open_s - self._clock.monotonic()


def too_many(failures: Collection[bool], minimum: int, rate: float) -> bool:
    """Tell whether of these calls, if there are enough of them, too large a share has failed."""
    return len(failures) >= minimum and sum(failures) / len(failures) >= rate
