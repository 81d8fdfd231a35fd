"""The sections of the configuration that compile to policies."""

from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)

from gateway.model.answers import Label
from gateway.model.facts import PriorScope
from gateway.policy.prior import duration_ms

__all__ = ["Duration", "Phase", "Require", "Rule", "StandingSection", "WorkflowSection"]


def _duration(text: str) -> str:
    duration_ms(text)
    return text


def _path(text: str) -> str:
    if not all(text.split(".")):
        raise ValueError(f"{text!r} is not the name of an argument (a nested one: order.id)")
    return text


Duration = Annotated[str, AfterValidator(_duration)]
ArgumentPath = Annotated[str, AfterValidator(_path)]
PhaseName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
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


class Phase(_Section):
    """A part of a piece of work, and what belongs to it: only then may it be called."""

    name: PhaseName = Field(description="What it is called.")
    calls: tuple[str, ...] = Field(
        min_length=1, description='The tools that belong to it, by name or pattern: "web.*".'
    )
    after: tuple[PhaseName, ...] | None = Field(
        default=None, description="The phases it may be entered from; the one before it if absent. A later one: back."
    )
    plan: str | None = Field(
        default=None, description="The role whose people approve the plan with which it is entered, word by word."
    )


class WorkflowSection(_Section):
    """One entry of `workflows:`."""

    key: ArgumentPath | None = Field(
        default=None,
        description="The argument that names the piece of work; equal keys belong together. `rules` need it.",
    )
    rules: tuple[Rule, ...] = Field(default=(), min_length=1, description="Which calls need which earlier calls.")
    phases: tuple[Phase, ...] = Field(
        default=(),
        min_length=1,
        max_length=16,
        description="The parts of the work, in their order; a run begins in the first.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.rules and not self.phases:
            raise ValueError("a workflow has `rules`, `phases`, or both")
        if self.rules and self.key is None:
            raise ValueError("`rules` need a `key`: the argument that names the piece of work")
        names = [phase.name for phase in self.phases]
        unknown = sorted({name for phase in self.phases for name in phase.after or ()}.difference(names))
        if len(set(names)) != len(names):
            raise ValueError("two phases have the same name")
        if unknown:
            raise ValueError(f"`after` names {unknown[0]!r}, which is no phase of this workflow")
        if self.phases and self.phases[0].plan is not None:
            raise ValueError("a run is in its first phase from the beginning: no plan can come before it")
        return self
