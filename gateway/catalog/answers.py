"""The sections in which an operator declares what answers of a tool are good for."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from gateway.catalog.assertions import assertions
from gateway.catalog.fields import check_path
from gateway.model.answers import CacheScope, Caching
from gateway.model.duration import milliseconds

__all__ = ["CacheRule", "Duration", "Ensure", "IncompleteRule", "StaleRule", "caching"]


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


def caching(rule: CacheRule | str | None) -> Caching | None:
    """Return how answers are given again, or None where they are not."""
    if rule is None:
        return None
    if isinstance(rule, str):
        return Caching(milliseconds(rule))
    writes = None if rule.invalidated_by is None else tuple(rule.invalidated_by)
    return Caching(milliseconds(rule.ttl), rule.scope, writes)
