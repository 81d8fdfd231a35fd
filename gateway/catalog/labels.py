"""Whether an answer is everything, and whether it is new enough to be acted on.

What is declared but cannot be judged, because the answer is not structured or a field is of another kind, counts as the
worse of the two.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from gateway.catalog.answers import IncompleteRule, StaleRule
from gateway.catalog.fields import ABSENT, only, structured, values
from gateway.model.duration import milliseconds

__all__ = ["is_incomplete", "is_stale"]

_NO_MORE: Final[Sequence[Any]] = (None, False, 0, "", [], {}, ABSENT)
_MILLISECONDS_FROM: Final = 100_000_000_000
"""A Unix time from here on is in milliseconds: as seconds it would be after the year 5000."""


def is_incomplete(rule: IncompleteRule, result: Mapping[str, Any]) -> bool:
    """Tell whether an MCP result is not everything."""
    value = structured(result)
    if value is ABSENT:
        return bool(rule.more or rule.required or rule.count)
    there_is_more = any(each not in _NO_MORE for path in rule.more for each in values(value, path))
    missing = any(each is None or each is ABSENT for path in rule.required for each in values(value, path))
    return there_is_more or missing or not all(_is_all(value, many, number) for many, number in rule.count.items())


def is_stale(rule: StaleRule, result: Mapping[str, Any], now_ms: int) -> bool:
    """Tell whether something in an MCP result was observed too long before `now_ms` (Unix milliseconds)."""
    times = [_moment(each) for each in values(structured(result), rule.at)]
    oldest = now_ms - milliseconds(rule.after)
    return any(time is None or time < oldest for time in times)


def _is_all(value: Any, many: str, number: str) -> bool:
    elements, told = only(value, many), only(value, number)
    return isinstance(elements, list) and type(told) in {int, float} and len(elements) == told


def _moment(value: Any) -> float | None:
    """Return a time in Unix milliseconds; None for what names no moment, as a time without an offset does not."""
    if type(value) in {int, float}:
        return float(value) if value >= _MILLISECONDS_FROM else value * 1000.0
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return None if moment.tzinfo is None else moment.timestamp() * 1000
