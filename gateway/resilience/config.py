"""The `resilience` section of the configuration."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RateLimit", "ResilienceConfig"]


class RateLimit(BaseModel):
    """How often one agent may call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = Field(gt=0, description="Calls allowed in each period; all of them may come at once.")
    per_s: float = Field(gt=0, description="The period, in seconds.")


class ResilienceConfig(BaseModel):
    """How hard the gateway tries, and when it stops; the same for every server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_attempts: int = Field(4, ge=1, le=20, description="Attempts at one call, the first included.")
    backoff_base_s: float = Field(0.2, gt=0, description="Longest wait before the second attempt; it doubles.")
    backoff_cap_s: float = Field(10.0, gt=0, description="Longest wait before any attempt, in seconds.")
    breaker_calls: int = Field(20, ge=1, description="How many of a server's last calls its breaker looks at.")
    breaker_min_calls: int = Field(10, ge=1, description="It does not open before it has seen this many.")
    breaker_failure_rate: float = Field(0.5, gt=0, le=1, description="It opens at this share of failed calls.")
    breaker_open_s: float = Field(15.0, gt=0, description="How long it stays open before a call may probe, in seconds.")
    concurrency: int = Field(64, ge=1, description="Calls at one server at the same time.")
    queue: int = Field(256, ge=0, description="Calls that may wait for one of those places; more are refused.")
    rate_limit: RateLimit | None = Field(None, description="How often one agent may call; not limited if not given.")
