"""What people's approvals do to a call that the policies refuse."""

from dataclasses import replace

import pytest

from gateway.model.decision import Ruling
from gateway.model.facts import Approver
from gateway.model.identity import Child, Identity
from gateway.policy import approved, could_be_approved, decide, decision_input, may_approve, people_needed
from gateway.policy.approve import may_join
from gateway.policy.given import Question
from tests.policy.acme import LIST, PAY, PAYER, PAYING, PAYMENT, PERMIT_ALL, facts, load

BOB, CAROL = Approver("bob", ("leads",)), Approver("carol", ("leads",))
LEADS = '@id("leads") permit (principal in Gateway::Role::"leads", action == Gateway::Action::"approve", resource);'


def wanting(condition: str) -> str:
    asked = f"context.base has approval && context.base.approval.argsMatch && {condition}"
    return f'@id("wants") @obligation("approval:leads") forbid (principal, {PAYING}, resource) unless {{ {asked} }};'


@pytest.mark.parametrize(("quorum", "told"), [(1, 1), (3, 3), (10, 10), (11, 1), (1000, 1)])
def test_as_many_people_are_needed_as_the_policies_count_and_one_where_that_is_more_than_is_tried(
    quorum: int, told: int
) -> None:
    bundle = load(PERMIT_ALL, wanting(f"context.base.approval.quorum >= {quorum}"))
    assert people_needed(bundle, decision_input(bundle, PAYER, PAY, PAYMENT, facts())) == told


@pytest.mark.parametrize(
    "condition", ["context.base.approval.quorum >= 2", "context.base.approval.at == context.base.now"]
)
def test_a_call_is_decided_as_if_people_had_approved_it_just_now(condition: str) -> None:
    bundle = load(PERMIT_ALL, wanting(condition))
    given = decision_input(bundle, PAYER, PAY, PAYMENT, facts())
    assert not decide(bundle, given).allowed
    assert approved(bundle, given, [BOB, CAROL]).allowed
    assert approved(bundle, given, [BOB], 2).allowed


def test_people_are_asked_for_what_an_agent_that_handed_the_work_on_needs_their_approval_for() -> None:
    theirs = Child("dg_1", "payer:reader", "run_1", ("payments.*",), 1, (PAYER,))
    who = Identity("reader", "token", "t", child=theirs)
    policy = wanting("context.base.approval.quorum >= 2").replace(
        "(principal,", '(principal == Gateway::Agent::"payer",'
    )
    bundle = load(PERMIT_ALL, policy)
    given = decision_input(bundle, who, PAY, PAYMENT, facts())
    decision = decide(bundle, given)
    assert (decision.ruling, decision.obligations) == (Ruling.NEEDS_APPROVAL, (("approval", "leads"),))
    assert could_be_approved(bundle, who, PAY)
    assert not could_be_approved(bundle, replace(who, child=None), PAY)
    assert people_needed(bundle, given) == 2
    assert not approved(bundle, given, [BOB]).allowed
    assert approved(bundle, given, [BOB, CAROL]).allowed


def test_only_calls_of_which_a_policy_looks_at_approvals_can_be_approved() -> None:
    bundle = load(PERMIT_ALL, wanting("true"))
    assert could_be_approved(bundle, PAYER, PAY)
    assert not could_be_approved(bundle, PAYER, LIST)


def test_who_may_approve_or_join_is_what_policies_say() -> None:
    join = '@id("join") permit (principal == Gateway::Agent::"reader", action == Gateway::Action::"join", resource);'
    bundle = load(PERMIT_ALL, LEADS, join)
    question = Question(PAYER, PAY, PAYMENT, facts())
    assert may_approve(bundle, BOB, question).allowed
    assert not may_approve(bundle, Approver("dan"), question).allowed
    assert may_join(bundle, Question(Identity("reader", "token", "t"), PAY, PAYMENT, facts()))
    assert not may_join(bundle, question)
