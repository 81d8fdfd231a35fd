"""What people said to a call, and the access they opened to it, as facts of its decision: of those only who may."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from gateway.approval.approvals import Approvals
from gateway.approval.standing import covers
from gateway.approval.values import Approval, Bound
from gateway.model.call import Call
from gateway.model.decision import Ruling
from gateway.model.facts import Approval as Consent
from gateway.model.facts import Approver, Facts, RunRef
from gateway.model.identity import Identity
from gateway.model.operation import TOOL_CALL
from gateway.model.tool import Tool
from gateway.pipeline.rules import Rules, RulesInForce
from gateway.policy import (
    MOST_PEOPLE,
    SELF_APPROVAL,
    Question,
    approved,
    could_be_approved,
    could_be_granted,
    decide,
    decision_input,
    may_approve,
)

__all__ = ["Consents", "bound_of", "child_of", "is_drafts", "person_may"]

_NAMED: Final = frozenset({"handle", "meta", "header", "key"})
"""How a run is found that the caller, or a workflow, named; any other one ends with its conversation."""


def bound_of(call: Call, run: RunRef) -> Bound:
    """Return what an approval of this call is bound to."""
    return Bound(
        agent=call.identity.agent,
        on_behalf_of=call.identity.on_behalf_of or "",
        tool=call.tool.name,
        tool_digest=call.tool.digest,
        arguments_digest=call.arguments_digest,
        bundle=call.bundle.digest,
        run=run.id if run.source in _NAMED else "",
        child=child_of(call.identity),
    )


def child_of(identity: Identity) -> str:
    """Return the id of the delegation that somebody works under, or nothing."""
    return "" if identity.child is None else identity.child.id


def is_drafts(draft: Approval, identity: Identity, tool: Tool) -> bool:
    """Tell whether a draft is this caller's to carry out: its own, or another's of whom it is an executor.

    An executor acts for nobody, or for the user for whom the draft was made.
    """
    if draft.standing or not draft.asked.get("draft", False):
        return False
    user = identity.on_behalf_of or ""
    if (draft.agent, draft.child) == (identity.agent, child_of(identity)):
        return user == draft.on_behalf_of
    return identity.agent in tool.executors and user in {"", draft.on_behalf_of}


def person_may(rules: Rules, person: Approver, question: Question, *, self_too: bool = False) -> str:
    """Return why a person may not approve a call, or nothing.

    Nobody approves what is done for them, as the agent's owner or the user it acts for (or an agent's that handed the
    work on to it), unless a policy lets them, or (`self_too`) it is not a consent.
    """
    decision = may_approve(rules.bundle, person, question)
    if not decision.allowed:
        return f"no policy lets {person.name} approve calls of {question.tool.name}"
    if not self_too and SELF_APPROVAL not in decision.obligations and _is_for(rules, person, question.identity):
        return f"{person.name} cannot approve what is done for them: another person has to"
    return ""


def _is_for(rules: Rules, person: Approver, identity: Identity) -> bool:
    requesters = {identity.on_behalf_of or ""}
    for each in (identity, *identity.delegators):
        agent = rules.bundle.agents.get(each.agent)
        requesters |= {each.owner, agent.owner if agent is not None else ""}
    requesters -= {""}
    names = {person.name, *rules.aliases.get(person.name, ())}
    return not {name.casefold() for name in requesters}.isdisjoint(name.casefold() for name in names)


class Consents:
    """Finds, for a call that a grant or an approval would turn, those that were given."""

    def __init__(self, rules: RulesInForce, approvals: Approvals) -> None:
        self._rules = rules
        self._approvals = approvals

    async def added(self, call: Call, facts: Facts) -> Facts:
        """Return the facts with what people said to this call. Raises `LedgerTampered`: it is not what they said."""
        rules = self._rules.current
        if not rules.people or call.tool.method != TOOL_CALL:
            return facts
        if could_be_granted(call.bundle, call.identity, call.tool):
            facts = await self._granted(call, facts)
        if not could_be_approved(call.bundle, call.identity, call.tool):
            return facts
        given = decision_input(call.bundle, call.identity, call.tool, call.arguments, facts)
        if decide(call.bundle, given).ruling is not Ruling.NEEDS_APPROVAL:
            return facts
        find = self._draft if call.drafts else self._found
        found = await find(bound_of(call, facts.run), call, facts)
        if found is None:
            return facts
        people = self._counted(found, Question(call.identity, call.tool, call.arguments, facts))
        if len(people) > 1:  # each has to be one whom the policies would take: a crowd does not carry a stranger
            people = tuple(one for one in people if approved(call.bundle, given, [one], MOST_PEOPLE).allowed)
        return replace(facts, approval=Consent(found.id, found.version, people, found.decided_ms, found.standing))

    async def _granted(self, call: Call, facts: Facts) -> Facts:
        """Return the facts with the grant without which the call would be denied; a grant is used for nothing else."""
        if not self._is_denied(call, facts):
            return facts
        for grant, people in self._usable(await self._approvals.standing(access=True), call, facts):
            granted = replace(facts, grant=Consent(grant.id, grant.version, people, grant.decided_ms, True))
            if not self._is_denied(call, granted):
                return granted
        return facts

    @staticmethod
    def _is_denied(call: Call, facts: Facts) -> bool:
        given = decision_input(call.bundle, call.identity, call.tool, call.arguments, facts)
        return decide(call.bundle, given).ruling is Ruling.DENY

    def _usable(
        self, standing: Sequence[Approval], call: Call, facts: Facts
    ) -> Iterator[tuple[Approval, tuple[Approver, ...]]]:
        """Yield those that are for this call, with the people who gave them and may."""
        bound, question = bound_of(call, facts.run), Question(call.identity, call.tool, call.arguments, facts)
        for each in standing:
            if each.is_usable(facts.now_ms) and covers(each, bound, call.arguments, facts.run.id):
                people = self._counted(each, question)
                if people:
                    yield each, people

    async def _draft(self, bound: Bound, call: Call, facts: Facts) -> Approval | None:
        """Return the approved draft that a call names and carries out; whatever else was approved is none."""
        if call.request.draft is None:
            return None
        draft = await self._approvals.find(call.request.draft)
        if not draft.is_usable(facts.now_ms) or not is_drafts(draft, call.identity, call.tool):
            return None
        made = draft.bound
        if (made.agent, made.child) != (bound.agent, bound.child):
            whose = {"agent": made.agent, "on_behalf_of": made.on_behalf_of, "child": made.child}
            bound = replace(bound, run=made.run, **whose)
        return draft if bound == made else None

    async def _found(self, bound: Bound, call: Call, facts: Facts) -> Approval | None:
        held, now_ms = await self._approvals.held(bound), facts.now_ms
        if held is not None and not held.is_pending(now_ms):
            return held if held.is_usable(now_ms) else None
        for standing in await self._approvals.standing(access=False):
            if standing.is_usable(now_ms) and covers(standing, bound, call.arguments, facts.run.id):
                return standing
        return None

    def _counted(self, approval: Approval, question: Question) -> tuple[Approver, ...]:
        """Return those who approved and, by what is known of them now, may."""
        rules = self._rules.current
        known = [rules.people[vote.by] for vote in approval.consents if vote.by in rules.people]
        return tuple(person for person in known if not person_may(rules, person, question))
