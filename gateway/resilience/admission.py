"""Whether the gateway takes a call at all."""

from gateway.model.clock import Clock
from gateway.model.errors import LimitFault
from gateway.model.identity import Identity
from gateway.resilience.config import RateLimit

__all__ = ["EVERYBODY", "Admission"]

EVERYBODY = "*"
"""What to `pause` so that no agent may call."""


class Admission:
    """Refuses while shutting down, while an agent is paused, and above an agent's rate."""

    def __init__(self, clock: Clock, rate_limit: RateLimit | None = None) -> None:
        self._clock = clock
        self._rate = rate_limit
        self._stopping = False
        self._paused: dict[str, str] = {}
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, identity: Identity) -> None:
        """Let one call of this agent in, and count it.

        Raises:
            LimitFault: `shutting_down`, `paused` or `rate_limited`.
        """
        if self._stopping:
            raise LimitFault("The gateway is shutting down. Try again soon.", code="shutting_down", retry_after_s=5.0)
        for paused in (EVERYBODY, identity.agent):
            if paused in self._paused:
                who = "All agents are" if paused == EVERYBODY else f"Agent {identity.agent} is"
                why = f": {self._paused[paused]}" if self._paused[paused] else ""
                raise LimitFault(f"{who} paused by an operator{why}. Wait for a person to resume.", code="paused")
        if self._rate is not None:
            self._take(identity.agent, self._rate)

    def stop(self) -> None:
        """Refuse every call from now on."""
        self._stopping = True

    def pause(self, agent: str = EVERYBODY, reason: str = "") -> None:
        """Refuse every call of one agent, or of all. `reason` is shown to the agent."""
        self._paused[agent] = reason

    def resume(self, agent: str = EVERYBODY) -> None:
        """Take back one `pause`."""
        self._paused.pop(agent, None)

    def paused(self) -> dict[str, str]:
        """Return who is paused, and why."""
        return dict(self._paused)

    def _take(self, agent: str, rate: RateLimit) -> None:
        """Take one token of the agent's bucket, which holds `calls` and refills evenly over `per_s`."""
        now = self._clock.monotonic()
        tokens, then = self._buckets.get(agent, (float(rate.calls), now))
        tokens = min(float(rate.calls), tokens + (now - then) * rate.calls / rate.per_s)
        if tokens < 1:
            wait = (1 - tokens) * rate.per_s / rate.calls
            raise LimitFault(f"More than {rate.calls} calls in {rate.per_s:g} s. Slow down.", retry_after_s=wait)
        self._buckets[agent] = (tokens - 1, now)
