"""What a person's approval does to a call, and whether the person may give it (POLICY.md §3)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.model.decision import Decision, DecisionInput
from gateway.model.facts import Approver
from gateway.model.identity import Identity
from gateway.model.tool import Tool
from gateway.policy.bundle import Bundle
from gateway.policy.decide import decide
from gateway.policy.entities import joined, reference, user_entity
from gateway.policy.given import Question, approving_input, from_json, joining_input, to_json

__all__ = [
    "MOST_PEOPLE",
    "SELF_APPROVAL",
    "approved",
    "could_be_approved",
    "could_be_granted",
    "may_approve",
    "may_join",
    "people_needed",
]

SELF_APPROVAL: Final = ("self_approval", "allowed")
"""The obligation of a permit that lets people approve what is done for them."""

MOST_PEOPLE: Final = 100
"""More people than any approval can be given by."""

_COUNTED: Final = 10
"""As far as it is tried how many people a call needs."""


def could_be_approved(bundle: Bundle, identity: Identity, tool: Tool) -> bool:
    """Tell whether an approval may make a difference to this agent's calls of a tool."""
    situations = (bundle.situation(bundle.request(one, tool)) for one in (identity, *identity.delegators))
    return any(policy.heeds_approval for situation in situations for policy in situation.policies)


def could_be_granted(bundle: Bundle, identity: Identity, tool: Tool) -> bool:
    """Tell whether access that people open may make a difference to this agent's own calls of a tool."""
    if not bundle.reads_grants:
        return False
    return any(policy.heeds_grant for policy in bundle.situation(bundle.request(identity, tool)).policies)


def may_approve(bundle: Bundle, person: Approver, question: Question) -> Decision:
    """Decide whether a person may approve a call. The decision carries SELF_APPROVAL where they may their own."""
    return decide(bundle, approving_input(bundle, person, question))


def may_join(bundle: Bundle, question: Question) -> bool:
    """Decide whether an agent may make a call in the run of its facts, which is another's."""
    return decide(bundle, joining_input(bundle, question)).allowed


def approved(bundle: Bundle, asked: DecisionInput, people: Sequence[Approver], quorum: int | None = None) -> Decision:
    """Decide a refused call as if these people had approved it just then, the last one last.

    `quorum` is how many they count as, where that is not as many as they are.
    """
    return decide(bundle, _supposed(bundle, asked, people, len(people) if quorum is None else quorum))


def _supposed(bundle: Bundle, asked: DecisionInput, people: Sequence[Approver], quorum: int) -> DecisionInput:
    base = asked.context.get("base", {})
    approval = {"by": reference("User", people[-1].name), "argsMatch": True, "quorum": quorum}
    if "now" in base:
        approval["at"] = base["now"]
    entities = joined(asked.entities, map(user_entity, people))
    given = replace(asked, entities=entities)
    context = {**asked.context, "base": {**base, "approval": approval}}
    theirs = [to_json(_supposed(bundle, one, people, quorum)) for one in _delegators(asked)]
    notes = {**asked.notes, "delegators": theirs} if theirs else asked.notes
    return replace(given, context=bundle.situation(given).need.prune(context), notes=notes)


def people_needed(bundle: Bundle, asked: DecisionInput) -> int:
    """Return how many people have to approve a call that needs it; 1 where that cannot be told beforehand."""
    return max(_needed(bundle, asked), *(_needed(bundle, one) for one in _delegators(asked)), 1)


def _delegators(asked: DecisionInput) -> list[DecisionInput]:
    """Return the same call as each of those would make it for whom it is made."""
    return [from_json(one) for one in asked.notes.get("delegators", ())]


def _needed(bundle: Bundle, asked: DecisionInput) -> int:
    heeding = bundle.situation(asked)
    for number in range(1, _COUNTED + 1):
        answer = heeding.approved(asked.context, number)
        if answer is not None and answer.allowed:
            return number
    return 1
