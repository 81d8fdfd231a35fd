"""One call on its way through the pipeline."""

from collections.abc import Mapping
from typing import Any

from gateway.model.decision import Decision, DecisionInput
from gateway.model.facts import Facts
from gateway.model.identity import Identity
from gateway.model.request import CallRequest
from gateway.model.tool import Tool

__all__ = ["Call"]


class Call:
    """A call in flight. Every slot is set once, by the stage named beside it; reading an unset one raises.

    Raises:
        AttributeError: a slot is read before its stage, or set twice: the stages are out of order.
    """

    __slots__ = (
        "arguments",  # validate: the parsed arguments object; what is decided on is what is sent
        "arguments_digest",  # validate
        "attempts",  # execute: list of attempt records
        "bundle",  # gather: the policy bundle that gather and decide share
        "checked",  # check: the raw result, known to keep its schema
        "decision",  # decide
        "facts",  # gather
        "given",  # decide: the DecisionInput
        "id",  # at birth
        "identity",  # identify
        "intent",  # claim: True when an intent row stands, so that the outcome must be written to it
        "raw",  # execute: the tool's raw result object
        "received_ms",  # at birth
        "request",  # at birth
        "result",  # redact: what the agent gets
        "step_key",  # gather: the idempotency key of this step, or None for reads without one
        "tool",  # resolve
    )

    id: str
    request: CallRequest
    received_ms: int
    identity: Identity
    tool: Tool
    arguments: Mapping[str, Any]
    arguments_digest: str
    bundle: Any
    facts: Facts
    step_key: str | None
    given: DecisionInput
    decision: Decision
    intent: bool
    attempts: list[Mapping[str, Any]]
    raw: Mapping[str, Any]
    checked: Mapping[str, Any]
    result: Mapping[str, Any]

    def __init__(self, call_id: str, request: CallRequest, received_ms: int) -> None:
        self.id = call_id
        self.request = request
        self.received_ms = received_ms

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError(f"Call.{name} is set twice")
        object.__setattr__(self, name, value)

    def has(self, name: str) -> bool:
        """Tell whether the stage that sets `name` has run."""
        return hasattr(self, name)

    def decided_again(self) -> "Call":
        """Return the same call as it was before `gather`, to decide on fresh facts."""
        fresh = Call(self.id, self.request, self.received_ms)
        for name in ("identity", "tool", "arguments", "arguments_digest"):
            setattr(fresh, name, getattr(self, name))
        return fresh
