"""What was asked of the policies, and what they answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.model.facts import PriorQuery
from gateway.model.light import light

__all__ = ["Decision", "DecisionInput", "Remedy"]


@light
@dataclass(frozen=True, slots=True)
class DecisionInput:
    """The bytes a decision is a pure function of; saved with the call (ARCHITECTURE.md §5).

    `principal`, `action` and `resource` are Cedar entity uids as `{"type", "id"}`; `context` is Cedar JSON; `entities`
    is the slice as a list of Cedar entity objects. `notes` is what the answer needs and Cedar must not see: the call
    ids of the prior steps, the arguments a remedy is filled in from, the values that could not be put before the
    policies.
    """

    principal: Mapping[str, str]
    action: Mapping[str, str]
    resource: Mapping[str, str]
    context: Mapping[str, Any] = field(repr=False)
    entities: tuple[Mapping[str, Any], ...] = field(repr=False)
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Remedy:
    """The missing step, with its arguments filled in from the refused call."""

    tool: str
    arguments: Mapping[str, Any]


@light
@dataclass(frozen=True, slots=True)
class Decision:
    """What the policies said.

    `policies` are the ids of the determining policies (the forbids of a deny, the permits of an allow; empty on default
    deny). `message` is for the agent. `consumes` are the prior queries whose steps the claim must use up. `waits_for`
    is the call id of a prerequisite still in flight. `shadow` are ids of shadow policies that would have changed
    the decision. `errors` make any decision a deny. `bundle` is the digest of the policies that decided.
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
