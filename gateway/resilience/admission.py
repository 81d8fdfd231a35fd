"""Whether the gateway takes a call at all."""

from collections.abc import Callable

from gateway.model.clock import Clock
from gateway.model.errors import LimitFault
from gateway.model.identity import Identity
from gateway.resilience.config import RateLimit

__all__ = ["Admission", "Stopped"]

Stopped = Callable[[Identity], None]
"""Raises `LimitFault` for an agent that an operator has stopped."""


def _nobody(identity: Identity) -> None:
    del identity


class Admission:
    """Refuses while shutting down, what an operator has stopped, and above an agent's rate."""

    def __init__(self, clock: Clock, rate_limit: RateLimit | None = None, stopped: Stopped = _nobody) -> None:
        self._clock = clock
        self._rate = rate_limit
        self._stopping = False
        self._stopped = stopped
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, identity: Identity) -> None:
        """Let one call of this agent in, and count it.

        Raises:
            LimitFault: `shutting_down`, `paused` or `rate_limited`.
        """
        if self._stopping:
            raise LimitFault("The gateway is shutting down. Try again soon.", code="shutting_down", retry_after_s=5.0)
        self._stopped(identity)
        if self._rate is not None:
            self._take(identity.agent, self._rate)

    def stop(self) -> None:
        """Refuse every call from now on."""
        self._stopping = True

    def _take(self, agent: str, rate: RateLimit) -> None:
        """Take one token of the agent's bucket, which holds `calls` and refills evenly over `per_s`."""
        now = self._clock.monotonic()
        tokens, then = self._buckets.get(agent, (float(rate.calls), now))
        tokens = min(float(rate.calls), tokens + (now - then) * rate.calls / rate.per_s)
        if tokens < 1:
            wait = (1 - tokens) * rate.per_s / rate.calls
            raise LimitFault(f"More than {rate.calls} calls in {rate.per_s:g} s. Slow down.", retry_after_s=wait)
        self._buckets[agent] = (tokens - 1, now)
