"""Which servers a call was to be answered by, and which of them failed it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["servers_asked"]

_FAILED: Final = frozenset({"unavailable", "timeout", "contract_broken", "outcome_unknown"})
_UNASKED: Final = frozenset({"rate_limited", "cancelled", "internal", "unusable"})


def servers_asked(tool: str, code: str, attempts: Iterable[Mapping[str, Any]]) -> Mapping[str, bool]:
    """Return the servers that a call of `tool` depended on: whether each failed it in the end.

    `code` is the error's that the call ended with, or empty. A refusal is an answer, and so is a tool's own error. What
    no server was asked for depended on none, but for what its server was left alone for: then it failed.
    """
    own = tool.partition(".")[0]
    asked: dict[str, bool] = {}
    stood_in = False
    for attempt in attempts:
        stood_in = stood_in or "fallback" in attempt
        if attempt.get("code") not in _UNASKED:
            asked[str(attempt.get("fallback", tool)).partition(".")[0]] = attempt.get("code") in _FAILED
    if code in _FAILED and not stood_in:
        asked[own] = True
    elif stood_in:
        asked.setdefault(own, True)
    return asked
