"""Schemas that are certain to compile, told without compiling them.

A validator takes some 10 KiB, and the library that makes it 7 MiB. Most tools of most servers are never called; the
schemas of nearly all are of these few words, each with a value that its draft (2020-12 or 07) has no objection to.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["is_plain"]

_DRAFTS: Final = ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#")
_DEPTH: Final = 32
_MOST: Final = 10_000
"""Subschemas: with more, those at one place, of all places, may be too many to be weighed."""

_LARGEST: Final = 2**53
_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_CLASS: Final = r"\[(?:a-z|A-Z|0-9|[A-Za-z0-9_.:/@ ])+-?\]"
_TIMES: Final = r"(?:\{(?:[0-9]{1,2},?|0,[0-9]{1,2}|1,[1-9][0-9]?)\}|[*+?])"
_PATTERN: Final = re.compile(rf"\^?(?:{_CLASS}{_TIMES}?|[A-Za-z0-9_-])*\$?")
"""Letters, and classes of letters that may be repeated; no range, and no number of times, ends before it begins."""

_NAMED: Final = "properties"
_ONE: Final = frozenset({"items", "additionalProperties"})
_SEVERAL: Final = frozenset({"allOf", "anyOf", "oneOf"})


def is_plain(schema: Mapping[str, Any]) -> bool:
    """Tell whether `schema` is certain to compile, and has no reference in it. Of any other it says nothing."""
    declared = schema.get("$schema", _DRAFTS[0])
    if not isinstance(declared, str) or declared not in _DRAFTS:
        return False
    level: list[Any] = [{word: value for word, value in schema.items() if word != "$schema"}]
    count = 0
    for _ in range(_DEPTH):
        below: list[Any] = []
        count += len(level)
        if count > _MOST or not all(_takes_apart(each, below) for each in level):
            return False
        if not below:
            return True
        level = below
    return False


def _takes_apart(schema: Any, below: list[Any]) -> bool:
    """Tell whether a schema is plain if those in it are, and add these to `below`."""
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    for word, value in schema.items():
        if word == _NAMED and isinstance(value, dict):
            below.extend(value.values())
        elif word in _ONE:
            below.append(value)
        elif word in _SEVERAL and isinstance(value, list) and value:
            below.extend(value)
        elif not _VALUES.get(word, _never)(value):
            return False
    return True


def _never(value: Any) -> bool:
    del value
    return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _is_value(value: Any) -> bool:
    return value is None or value in ([], {}) or isinstance(value, str | bool) or _is_number(value)


def _are_values(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(_is_value, value))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len({*value}) == len(value)


def _is_pattern(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 100 and _PATTERN.fullmatch(value) is not None


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) and value else [value]
    return _are_names(names) and _TYPES.issuperset(names)


_VALUES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "type": _is_type,
    "pattern": _is_pattern,
    "required": _are_names,
    "enum": _are_values,
    "examples": _are_values,
    **dict.fromkeys(("const", "default"), _is_value),
    **dict.fromkeys(("title", "description", "format", "$comment"), _is_text),
    **dict.fromkeys(("readOnly", "writeOnly", "deprecated", "uniqueItems"), _is_truth),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_count),
}
