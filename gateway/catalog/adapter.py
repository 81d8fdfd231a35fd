"""Putting an object into another shape: what differs between two tools that do the same, or two versions of one."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from gateway.catalog.fields import ABSENT, check_path, only, structured
from gateway.codec import dump

__all__ = ["AdapterRule", "FieldName", "adapter", "result_adapter"]

Fields = Mapping[str, Any]


def _named(path: str) -> str:
    if "*" in path.split("."):
        raise ValueError(f"{path[:80]!r}: an adapter moves single fields; `*` is for looking at lists")
    return check_path(path)


FieldName = Annotated[str, AfterValidator(_named)]
"""A field: dots separate nested ones."""


class AdapterRule(BaseModel):
    """How an object is put into another shape. Carried out in this order: drop, rename, default, constant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop: Annotated[list[FieldName], Field(max_length=64)] = Field([], description="Fields to leave out.")
    rename: Annotated[dict[FieldName, FieldName], Field(max_length=64)] = Field(
        {}, description="Fields to call otherwise: { old: new }."
    )
    default: Annotated[dict[FieldName, JsonValue], Field(max_length=64)] = Field(
        {}, description="Fields to add where they are absent."
    )
    constant: Annotated[dict[FieldName, JsonValue], Field(max_length=64)] = Field(
        {}, description="Fields to set, whatever they were."
    )


_ALIKE: Final = AdapterRule()


def adapter(rule: AdapterRule) -> Callable[[Fields], Fields] | None:
    """Return what puts an object into the other shape, or None where they are alike. The object itself stays."""
    return None if rule == _ALIKE else partial(_adapted, rule)


def result_adapter(rule: AdapterRule) -> Callable[[Fields], Fields] | None:
    """As `adapter`, for an MCP result: what is structured is put into shape, and its text is written anew from that.

    What it returns raises `ValueError` for a result that is no object.
    """
    return None if rule == _ALIKE else partial(_adapted_result, rule)


def _adapted(rule: AdapterRule, value: Fields) -> Fields:
    made: dict[str, Any] = deepcopy(dict(value))
    for path in rule.drop:
        _take(made, path)
    moved = [(new, _take(made, old)) for old, new in rule.rename.items()]  # first all out: names may be swapped
    for new, found in moved:
        if found is not ABSENT:
            _put(made, new, found)
    for path, given in rule.default.items():
        if only(made, path) is ABSENT:
            _put(made, path, given)
    for path, given in rule.constant.items():
        _put(made, path, given)
    return made


def _adapted_result(rule: AdapterRule, result: Fields) -> Fields:
    value = structured(result)
    if not isinstance(value, Mapping):
        raise ValueError(  # noqa: TRY004 - it is the data that is wrong, not the program
            "it is not an object, so that it cannot be put into another shape"
        )
    made = _adapted(rule, value)
    others = [block for block in result.get("content") or () if not isinstance(block, Mapping) or "text" not in block]
    return {**result, "content": [{"type": "text", "text": dump(made).decode()}, *others], "structuredContent": made}


def _take(value: dict[str, Any], path: str) -> Any:
    *way, name = path.split(".")
    for step in way:
        inner = value.get(step)
        if not isinstance(inner, dict):
            return ABSENT
        value = inner
    return value.pop(name, ABSENT)


def _put(value: dict[str, Any], path: str, given: Any) -> None:
    *way, name = path.split(".")
    for step in way:
        inner = value.get(step)
        if not isinstance(inner, dict):
            inner = value[step] = {}
        value = inner
    value[name] = deepcopy(given)
