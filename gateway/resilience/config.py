"""The `resilience` section of the configuration."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from gateway.model.duration import milliseconds

__all__ = ["Objective", "Objectives", "ProbeRule", "Probes", "RateLimit", "ResilienceConfig"]


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


def _duration(text: str) -> str:
    milliseconds(text)
    return text


class ProbeRule(BaseModel):
    """How often it is looked whether a server answers, and by what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: Annotated[str, AfterValidator(_duration)] = Field(description="How long between two probes: 15s.")
    call: str | None = Field(
        None, description="A read of the server that is called, such as crm.status; by default its tools are listed."
    )
    arguments: dict[str, JsonValue] = Field({}, description="The arguments of that call.")
    timeout_s: float = Field(5.0, gt=0, le=60, description="How long an answer may take, in seconds.")


def _own_calls(probes: dict[str, ProbeRule]) -> dict[str, ProbeRule]:
    for server, rule in probes.items():
        if rule.call is not None and rule.call.partition(".")[0] != server:
            raise ValueError(f"the probe of {server!r} calls {rule.call!r}, which is a tool of another server")
    return probes


Probes = Annotated[dict[str, ProbeRule], Field(max_length=1000), AfterValidator(_own_calls)]
"""The whole `probes:` section: server, or `*` for every other one → how it is looked after."""


def _window(text: str) -> str:
    if not 86_400_000 <= milliseconds(text) <= 90 * 86_400_000:
        raise ValueError("an objective is for 1d to 90d")
    return text


class Objective(BaseModel):
    """What is expected of a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    success: float = Field(ge=0.5, le=0.99999, description="The share of calls that it must not fail, such as 0.99.")
    window: Annotated[str, AfterValidator(_window)] = Field("30d", description="In how long, 1d to 90d.")

    @property
    def window_ms(self) -> int:
        """The window in milliseconds."""
        return milliseconds(self.window)


Objectives = Annotated[dict[str, Objective], Field(max_length=1000)]
"""The whole `slo:` section: server, or `*` for every other one → what is expected of it."""
