"""The sections in which an operator declares what answers of a tool are good for."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from gateway.catalog.adapter import AdapterRule
from gateway.catalog.assertions import assertions
from gateway.catalog.fields import check_path
from gateway.model.answers import CacheScope
from gateway.model.duration import milliseconds

__all__ = [
    "CacheRule",
    "Duration",
    "Ensure",
    "FallbackRule",
    "Fallbacks",
    "IncompleteRule",
    "LastAnswerRule",
    "StaleRule",
    "VersionRule",
]


def _duration(text: str) -> str:
    milliseconds(text)
    return text


def _judgeable(ensure: dict[str, Any]) -> dict[str, Any]:
    assertions(ensure)
    return ensure


Duration = Annotated[str, AfterValidator(_duration)]
ToolPattern = Annotated[str, Field(min_length=1, max_length=256)]
FieldPath = Annotated[str, AfterValidator(check_path)]
"""A field of a structured answer: dots separate nested ones, `*` stands for every element of a list."""

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr
Ensure = Annotated[
    dict[FieldPath, Scalar | Annotated[list[Scalar], Field(min_length=1)]],
    Field(max_length=64),
    AfterValidator(_judgeable),
]
"""What fields must be: a value, one of a list, or a text such as "> 0" or "!= failed"."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CacheRule(_Section):
    """How long an answer of a read is good for, and for whom. `cache: 60s` is short for `cache: { ttl: 60s }`."""

    ttl: Duration = Field(description="How old an answer may be that is given again: 60s, 15m, 24h.")
    scope: CacheScope = Field(
        CacheScope.AGENT,
        description="agent: to the same agent for the same user; user: to every agent of that user; everybody.",
    )
    invalidated_by: Annotated[list[ToolPattern], Field(max_length=64)] | None = Field(
        None, description="The writes that end it, by name or pattern; by default every one through the same server."
    )


class IncompleteRule(_Section):
    """When an answer is not everything. Whatever is declared, so is one whose connector says that it is not."""

    more: Annotated[list[FieldPath], Field(max_length=16)] = Field(
        [], description="Fields that say there is more: anything but absent, null, false, 0 and empty."
    )
    required: Annotated[list[FieldPath], Field(max_length=64)] = Field(
        [], description="Fields that must be there and not null."
    )
    count: Annotated[dict[FieldPath, FieldPath], Field(max_length=16)] = Field(
        {}, description="List → the field that says how many elements there are: { orders: total }."
    )


class StaleRule(_Section):
    """When an answer is too old to be acted on."""

    at: FieldPath = Field(description="The field that says when it was observed: RFC 3339, or Unix time.")
    after: Duration = Field(description="How old it may be: 10m.")


class FallbackRule(_Section):
    """A tool that answers in the place of one that cannot be reached."""

    tool: ToolPattern = Field(description="Its canonical name; a read that the agent may call too.")
    arguments: AdapterRule = Field(default=AdapterRule(), description="From the arguments of this tool to its own.")
    result: AdapterRule = Field(default=AdapterRule(), description="From its result to one of this tool.")


class LastAnswerRule(_Section):
    """The last answer, for as long as it is better than none."""

    cached: Duration = Field(description="How old it may be: 24h. `cached` alone stands for an hour.")


class VersionRule(_Section):
    """Who is held at an older version of a tool, and how it is spoken while its server speaks the present one."""

    agents: Annotated[list[str], Field(max_length=1000)] = Field([], description="The agents that are held at it.")
    teams: Annotated[list[str], Field(max_length=1000)] = Field(
        [], description="Teams whose agents are held at it, but for those that another version names."
    )
    arguments: AdapterRule = Field(default=AdapterRule(), description="From its arguments to those of the present one.")
    result: AdapterRule = Field(default=AdapterRule(), description="From the present one's result to its own.")


Fallbacks = Annotated[list[str | FallbackRule | LastAnswerRule], Field(min_length=1, max_length=8)]
"""What is tried in turn: a tool by name, one with adapters, the last answer (`cached`)."""
