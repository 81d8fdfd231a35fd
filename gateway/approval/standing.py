"""Standing approvals: calls like these need not be asked about, so many of them, until then.

One that opens access is something else to policies, a grant: it stands for no approval, and no approval stands for it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.approval.values import Approval, ApprovalRefused, Bound
from gateway.codec import CodecError, parse

__all__ = ["MOST_USES", "Condition", "condition_from", "covers", "opens_access"]

MOST_USES: Final = 100_000
_CONDITION: Final = re.compile(r"\s*([^\s=!<>]+)\s*(==|!=|<=|>=|<|>|\bin\b)\s*(.+?)\s*", re.DOTALL)
_ORDERED: Final = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Condition:
    """What an argument must be: `path op value`, as `amount <= 100`. Dots in the path separate nested properties."""

    path: str
    op: str
    value: Any

    def holds(self, arguments: Mapping[str, Any]) -> bool:
        """Tell whether the arguments meet it; what is missing or of another type meets nothing."""
        node: Any = arguments
        for name in self.path.split("."):
            if not isinstance(node, Mapping) or name not in node:
                return False
            node = node[name]
        if self.op in _ORDERED:
            return _is_number(node) and _compare(node, self.op, self.value)
        if self.op == "in":
            return any(_same(node, each) for each in self.value)
        return _same(node, self.value) is (self.op == "==")

    def __str__(self) -> str:
        return f"{self.path} {self.op} {json.dumps(self.value, ensure_ascii=False)}"


def condition_from(text: str) -> Condition:
    """Read `amount <= 100`, `payee == "ACME"`, `currency in ["EUR", "USD"]`; a bare word is a text.

    Raises:
        ApprovalRefused: it is none of these.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ApprovalRefused("bad_condition", f"{text!r} is no condition; write: amount <= 100")
    path, op, written = found.groups()
    try:
        value = parse(written.encode())
    except (CodecError, UnicodeEncodeError):
        value = written
    if op in _ORDERED and not _is_number(value):
        raise ApprovalRefused("bad_condition", f"{text!r} compares with something that is no number")
    if op == "in" and not isinstance(value, list):
        raise ApprovalRefused("bad_condition", f'{text!r} needs a list: {path} in ["a", "b"]')
    return Condition(path, op, value)


def opens_access(approval: Approval) -> bool:
    """Tell whether a standing approval is a grant: it lets through what a policy permits only where there is one."""
    return bool(approval.asked.get("access", False))


def covers(approval: Approval, bound: Bound, arguments: Mapping[str, Any], run: str) -> bool:
    """Tell whether a standing approval is for this call too, which is made in `run`."""
    asked = approval.asked
    conditions: Sequence[Mapping[str, Any]] = asked["where"]
    return (
        asked["agent"] == bound.agent
        and asked["on_behalf_of"] in {"", bound.on_behalf_of}
        and asked.get("run", "") in {"", run}
        and asked["tools"].get(bound.tool) == bound.tool_digest
        and all(Condition(**each).holds(arguments) for each in conditions)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compare(one: float, op: str, other: float) -> bool:
    if op.startswith("<"):
        return one < other or (op == "<=" and one == other)
    return one > other or (op == ">=" and one == other)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
