"""One call on its way through the pipeline."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.model.answers import Label, Source
from gateway.model.back import NOBODY, Back
from gateway.model.bill import Bill
from gateway.model.decision import Decision, DecisionInput
from gateway.model.facts import Facts
from gateway.model.identity import Identity
from gateway.model.request import CallRequest
from gateway.model.tool import Tool

__all__ = ["Call"]


class Call:
    """A call in flight. Every slot is set once, by the stage named beside it, which a test holds the stages to.

    Slots, and no guard on assignment: either costs a fortieth of a call. What only some calls have is nothing in the
    others from birth on, which is read without asking first.

    Raises:
        AttributeError: a slot is read before its stage: the stages are out of order.
    """

    __slots__ = (
        *("id", "request", "received_ms", "identity", "tool", "as_task", "arguments", "arguments_digest"),
        *("bundle", "facts", "bill", "step_key", "recalled", "takes_over", "given", "decision", "charged"),
        *("intent", "attempts", "source", "raw", "labels", "checked", "carries", "origin", "result", "text"),
    )

    id: str  # at birth
    request: CallRequest  # at birth
    received_ms: int  # at birth
    identity: Identity  # identify
    tool: Tool  # resolve
    as_task: str  # resolve: the form in which its server may carry it out as a task that its client can follow, or ""
    arguments: Mapping[str, Any]  # validate: the parsed arguments object; what is decided on is what is sent
    arguments_digest: str  # validate
    bundle: Any  # gather: the policy bundle that gather and decide share
    facts: Facts  # gather
    bill: Bill  # gather: what it costs, and the budgets it is charged to
    step_key: str | None  # gather: the idempotency key of this step, or None for reads without one
    recalled: Any  # gather: the recorded call (store.Recorded) that answers this one, if any
    takes_over: Any  # claim: the recorded call in doubt (store.Recorded) that this one makes again, if any
    given: DecisionInput  # decide: the DecisionInput
    decision: Decision  # decide
    charged: Bill  # claim: what it is charged, the limits of the policies that allowed it among it
    intent: bool  # claim: True when an intent row stands, so that the outcome must be written to it
    attempts: list[Mapping[str, Any]]  # execute: list of attempt records
    source: Source | None  # execute: where the answer is from, unless the tool gave it to this very call
    raw: Mapping[str, Any]  # execute: the tool's raw result object
    labels: tuple[Label, ...]  # check, or claim where it is from the record: what its reader has to know
    checked: Mapping[str, Any]  # check: the raw result, known to keep its schema
    carries: tuple[str, ...]  # execute: labels that the answer brings with it, whatever tool gives it
    origin: str  # execute: the tool that had given the answer, where it is not this one
    result: Mapping[str, Any]  # redact: what the agent gets
    text: bytes | None  # redact: the JSON of that, if it had to be written to look for secrets

    def __init__(self, call_id: str, request: CallRequest, received_ms: int) -> None:
        self.id = call_id
        self.request = request
        self.received_ms = received_ms
        self.recalled = None
        self.takes_over = None
        self.intent = False
        self.source = None
        self.labels = ()
        self.carries = ()
        self.origin = ""
        self.text = None

    @property
    def drafts(self) -> bool:
        """Whether it is carried out only as an approved draft; what the gateway undoes, or promised before, is not."""
        return self.tool.drafts and self.request.undoes is None and self.request.promised is None

    def has(self, name: str) -> bool:
        """Tell whether the stage that sets `name` has run, and for what only some calls have, whether this one has."""
        return hasattr(self, name) and (name not in _NOTHING or getattr(self, name) is not _NOTHING[name])

    def decided_again(self) -> "Call":
        """Return the same call as it was before `gather`, to decide on fresh facts."""
        fresh = Call(self.id, self.request, self.received_ms)
        for name in ("identity", "tool", "as_task", "arguments", "arguments_digest"):
            setattr(fresh, name, getattr(self, name))
        return fresh

    def over(self, back: Back) -> "Call":
        """Return the same decided call with another way back."""
        return self._decided(replace(self.request, back=back))

    def answered_later(self) -> "Call":
        """Return the same call as it was before it was answered, and without a way back: its answer is yet to come."""
        return self._decided(replace(self.request, back=NOBODY, more={}))

    def _decided(self, request: CallRequest) -> "Call":
        fresh = Call(self.id, request, self.received_ms)
        for name in _DECIDED:
            if self.has(name):
                setattr(fresh, name, getattr(self, name))
        return fresh


_NOTHING: Final[Mapping[str, Any]] = {
    "recalled": None,
    "takes_over": None,
    "intent": False,
    "source": None,
    "labels": (),
    "carries": (),
    "origin": "",
    "text": None,
}
"""What only some calls have, as it is in the others."""

_DECIDED: Final = (
    "identity",
    "tool",
    "as_task",
    "arguments",
    "arguments_digest",
    "bundle",
    "facts",
    "bill",
    "step_key",
    "given",
    "decision",
    "charged",
    "intent",
    "attempts",
)
