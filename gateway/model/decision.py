"""What was asked of the policies, and what they answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.model.facts import PriorQuery
from gateway.model.light import light

__all__ = ["Decision", "DecisionInput", "Remedy", "Ruling"]


@light
@dataclass(frozen=True, slots=True)
class DecisionInput:
    """The bytes a decision is a pure function of; saved with the call (ARCHITECTURE.md §5).

    `principal`, `action` and `resource` are Cedar entity uids as `{"type", "id"}`; `context` is Cedar JSON; `entities`
    is the slice as a list of Cedar entity objects. `notes` is what the answer needs and Cedar must not see: the call
    ids of the prior steps, the arguments a remedy is filled in from, the values that could not be put before the
    policies. One that is `lasting` is the same object for many calls, and stays as it is.
    """

    principal: Mapping[str, str]
    action: Mapping[str, str]
    resource: Mapping[str, str]
    context: Mapping[str, Any] = field(repr=False)
    entities: tuple[Mapping[str, Any], ...] = field(repr=False)
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    lasting: bool = field(default=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Remedy:
    """The missing step, with its arguments filled in from the refused call."""

    tool: str
    arguments: Mapping[str, Any]


class Ruling(StrEnum):
    """What a decision comes to, from the best for the caller to the worst (POLICY.md §3)."""

    ALLOW = "allow"
    ALLOW_WITH_OBLIGATIONS = "allow_with_obligations"
    NEEDS_PRECONDITION = "needs_precondition"
    NEEDS_APPROVAL = "needs_approval"
    DENY = "deny"


@light
@dataclass(frozen=True, slots=True)
class Decision:
    """What the policies said.

    `policies` are the ids of the determining policies (the forbids of a deny, the permits of an allow; empty on default
    deny). `message` is for the agent. `consumes` are the prior queries whose steps the claim must use up. `shadow` are
    ids of shadow policies that would have changed the decision. `errors` make any decision a deny. `bundle` is the
    digest of the policies that decided.

    A refusal says what would turn it, and nothing where nothing is known to: `remedies` are steps to make first,
    `waits_for` is the call id of one still in flight, and its `obligations` are the approvals (`("approval", who)`)
    with which the call would be allowed as it is.
    """

    allowed: bool
    bundle: str
    policies: tuple[str, ...] = ()
    message: str = ""
    remedies: tuple[Remedy, ...] = ()
    obligations: tuple[tuple[str, str], ...] = ()
    consumes: tuple[PriorQuery, ...] = ()
    waits_for: str | None = None
    shadow: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def ruling(self) -> Ruling:
        """Where the decision stands in the lattice of outcomes."""
        if self.allowed:
            return Ruling.ALLOW_WITH_OBLIGATIONS if self.obligations else Ruling.ALLOW
        if self.remedies or self.waits_for is not None:
            return Ruling.NEEDS_PRECONDITION
        return Ruling.NEEDS_APPROVAL if self.obligations else Ruling.DENY
