"""The sections of the configuration that compile to policies."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from gateway.model.answers import Label
from gateway.model.facts import PriorScope
from gateway.policy.prior import duration_ms

__all__ = ["Duration", "Require", "Rule", "StandingSection", "WorkflowSection"]


def _duration(text: str) -> str:
    duration_ms(text)
    return text


def _path(text: str) -> str:
    if not all(text.split(".")):
        raise ValueError(f"{text!r} is not the name of an argument (a nested one: order.id)")
    return text


Duration = Annotated[str, AfterValidator(_duration)]
ArgumentPath = Annotated[str, AfterValidator(_path)]
Scalar = StrictBool | StrictInt | StrictFloat | StrictStr


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StandingSection(_Section):
    """What an entry of `mcpServers` says of the server itself, for the policies to go by."""

    trust: StrictInt = Field(
        default=0, ge=0, le=100, description="How far what it says is trusted: 0 (not at all, the default) to 100."
    )
    quarantined: StrictBool = Field(default=False, description="Whether nothing of it may be used for now.")


class Require(_Section):
    """An earlier call that must have succeeded."""

    call: str = Field(description="The tool that must have been called, by its canonical name.")
    same: tuple[ArgumentPath, ...] = Field(
        default=(), description="Arguments that must be equal in both calls, for example payment_id."
    )
    where: dict[ArgumentPath, Scalar] = Field(
        default_factory=dict, description="What its result must say, for example result: passed."
    )
    within: Duration | None = Field(default=None, description="How old it may be: 15m, 24h, 1h30m.")
    accept: tuple[Label, ...] = Field(
        default=(), description="Labels its answer may carry; of those declared for the tool, none by default."
    )
    once: bool = Field(default=False, description="Whether one such call serves one call only.")
    scope: PriorScope = Field(
        default=PriorScope.RUN, description="Where to look: the same run, session, agent, or user."
    )


class Rule(_Section):
    """A call and what must come before it."""

    call: str = Field(description="The tool that is guarded, by its canonical name.")
    require: tuple[Require, ...] = Field(min_length=1, description="The earlier calls, every one of them.")


class WorkflowSection(_Section):
    """One entry of `workflows:`."""

    key: ArgumentPath = Field(description="The argument that names the piece of work; equal keys belong together.")
    rules: tuple[Rule, ...] = Field(min_length=1, description="Which calls need which earlier calls.")
