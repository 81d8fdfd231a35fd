"""A circuit breaker: after too many failures a server is left alone for a while."""

from collections import deque
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Protocol

from gateway.model.clock import Clock
from gateway.resilience.config import ResilienceConfig

__all__ = ["Breaker", "BreakerState", "OwnTurn", "Turn", "too_many"]


class BreakerState(StrEnum):
    """`closed` lets calls through, `open` none, `half_open` one that decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Turn(Protocol):
    """What a call was let through for: every one must be followed by exactly one `record` or `forget`."""

    def record(self, failed: bool) -> None:
        """Learn how the call ended."""
        ...

    def forget(self) -> None:
        """The call ended without telling anything of the server."""
        ...


class Breaker:
    """Opens at a failure rate over the last calls; after a pause one call may probe and close it or open it again."""

    def __init__(self, clock: Clock, settings: ResilienceConfig) -> None:
        self._clock = clock
        self._settings = settings
        self._failures: deque[bool] = deque(maxlen=settings.breaker_calls)
        self._since_failure = 0
        """How many calls have not failed since one did, or since the first: of those that count, one did if fewer."""
        self.only_knows_success = False
        """Whether none of as many calls as it looks at has failed: one more that did not changes nothing."""
        self._opened_at: float | None = None
        self._probing = False
        self._turn = OwnTurn(self)

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

    def ask(self) -> "OwnTurn | float":
        """Ask to make a call: a turn lets it through, a number is how long to wait before asking again, in seconds."""
        if self._opened_at is None:
            return self._turn
        if self.state is BreakerState.HALF_OPEN and not self._probing:
            self._probing = True
            self._turn = OwnTurn(self)
            return self._turn
        return max(self._left(), 1.0)

    def judges(self, turn: "OwnTurn") -> bool:
        """Tell whether a call of this turn still counts: not one let through before the breaker last changed."""
        return turn is self._turn

    def learn(self, turn: "OwnTurn", failed: bool | None) -> None:
        """Learn how a call of this turn ended; None where that says nothing of the server."""
        if turn is not self._turn:
            return
        if failed is None:
            self._probing = False
        elif self._opened_at is None:
            self._failures.append(failed)
            self._since_failure = 0 if failed else self._since_failure + 1
            self.only_knows_success = self._since_failure >= self._settings.breaker_calls
            if self._since_failure < len(self._failures) and self._trips():
                self._opened_at = self._clock.monotonic()
                self._turn = OwnTurn(self)
        else:
            self._decide(failed)

    def _decide(self, failed: bool) -> None:
        """The probe has ended."""
        self._probing = False
        self._opened_at = self._clock.monotonic() if failed else None
        self._turn = OwnTurn(self)
        self._failures.clear()
        self._since_failure = 0
        self.only_knows_success = False

    def _trips(self) -> bool:
        minimum = min(self._settings.breaker_min_calls, self._settings.breaker_calls)
        return too_many(self._failures, minimum, self._settings.breaker_failure_rate)

    def _left(self) -> float:
        opened = self._opened_at if self._opened_at is not None else 0.0
        return opened + self._settings.breaker_open_s - self._clock.monotonic()


class OwnTurn:
    """The calls that one breaker lets through between two of its changes; a probe has one of its own."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def record(self, failed: bool) -> None:
        """As `Turn.record`."""
        if failed or not self._breaker.only_knows_success:
            self._breaker.learn(self, failed)

    def forget(self) -> None:
        """As `Turn.forget`."""
        self._breaker.learn(self, None)


def too_many(failures: Collection[bool], minimum: int, rate: float) -> bool:
    """Tell whether of these calls, if there are enough of them, too large a share has failed."""
    return len(failures) >= minimum and sum(failures) / len(failures) >= rate
