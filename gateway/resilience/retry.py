"""When a failed attempt may be made again, and when its effect is in doubt (CONNECTORS.md §1). Pure."""

from typing import Final

from gateway.connector.upstream import ToolCall
from gateway.model.errors import ConnectorFault, GatewayError
from gateway.model.tool import Effect, Tool

__all__ = ["backoff_s", "cannot_double", "in_doubt", "repeatable"]

_NO_ANSWER: Final = frozenset({"unavailable", "timeout", "contract_broken"})


def repeatable(tool: Tool, call: ToolCall) -> bool:
    """Tell whether the call may be made again, whatever became of it."""
    return tool.effect is Effect.READ or (tool.idempotent and call.idempotency_key is not None)


def cannot_double(tool: Tool, call: ToolCall, fault: ConnectorFault) -> bool:
    """Tell whether another attempt cannot make the effect happen twice."""
    return repeatable(tool, call) or fault.refused or not fault.sent


def in_doubt(tool: Tool, fault: GatewayError) -> bool:
    """Tell whether, after this attempt, nobody knows if the effect has happened.

    A refusal (`rejected`, `credential_expired`, or put off undone) is an answer; a missing or unreadable one is none.
    """
    if tool.effect is Effect.READ or not isinstance(fault, ConnectorFault):
        return False
    return fault.sent and not fault.refused and fault.code in _NO_ANSWER


def backoff_s(failures: int, base_s: float, cap_s: float, fraction: float) -> float:
    """Return the wait after `failures` failed attempts: exponential with full jitter.

    `fraction` is uniform in [0, 1). Formula: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return fraction * min(cap_s, base_s * 2.0 ** min(failures - 1, 32))
