"""What one subschema costs at one place of a value, in checks: some hundred nanoseconds each, measured."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Costs", "costs"]

_A_CHECK: Final = 16
"""Texts, numbers or names that are compared in the time of one check."""

_PAIRS: Final = 4
"""Pairs of items that are held against each other in that time."""

_STEPS: Final = 64
"""Steps that a pattern takes in the time of one check: one a character for each thing that it counts at most."""

_COUNTED: Final = re.compile(r"\{(\d{0,9})(?:,(\d{0,9}))?\}")
_EXACT: Final = (-(2**63), 2**64)


@dataclass(frozen=True, slots=True)
class Costs:
    """`least` is what it costs wherever it is, `counted` what its patterns cost a character, `keyed` a member's name.

    `unique` is whether the items of a list must differ.
    """

    least: int
    counted: int
    keyed: int
    unique: bool

    def of(self, here: Any) -> int:
        """Return what it costs of this value."""
        if isinstance(here, str):
            return self.least + self.counted * len(here) // _STEPS
        if isinstance(here, dict):
            return self.least + sum(self.keyed + self.counted * len(name) // _STEPS for name in here)
        if (
            self.unique and isinstance(here, list) and _holds_huge(here)
        ):  # which are held against each other, all of them
            return self.least + len(here) ** 2 // _PAIRS
        return self.least


def costs(node: Mapping[str, Any]) -> Costs:
    """Return what a subschema costs, without those below it."""
    named = node.get("patternProperties")
    patterns = list(named) if isinstance(named, Mapping) else []
    own = node.get("pattern")
    counted = sum(map(_counted, [*patterns, own] if isinstance(own, str) else patterns))
    compared = sum(_compared(node[word]) for word in ("enum", "const", "required", "dependentRequired") if word in node)
    properties = node.get("properties")
    listed = len(properties) if isinstance(properties, Mapping) else 0
    least = 1 + (compared + listed) // _A_CHECK + counted * 2
    return Costs(least, counted, len(patterns), node.get("uniqueItems") is True)


def _counted(pattern: str) -> int:
    """Return how many things a pattern keeps count of at most; nothing where they are few."""
    total = 1
    for least, most in _COUNTED.findall(pattern):
        total *= max(int(least or 0), int(most or 0), 1)
    return total if total > _STEPS else 0


def _compared(value: Any) -> int:
    """Return how many values are compared; what has parts takes ten times as long as a text."""
    total, stack = 0, [value]
    while stack:
        each = stack.pop()
        total += 1
        if isinstance(each, Mapping | Sequence) and not isinstance(each, str):
            total += 10 * (each is not value)
            stack.extend(each.values() if isinstance(each, Mapping) else each)
    return total


def _holds_huge(value: Any) -> bool:
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict | list):
            stack.extend(each.values() if isinstance(each, dict) else each)
        elif type(each) is int and not _EXACT[0] <= each < _EXACT[1]:
            return True
    return False
