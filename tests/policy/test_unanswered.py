"""A policy that asks people, where nobody may say yes, is pointed at."""

from dataclasses import replace

import pytest

from gateway.model.facts import Approver
from gateway.policy.unanswered import unanswered
from tests.policy.acme import CALL, CHECK, PAY, PERMIT_ALL, load

ASK = (
    '@id("ask") @obligation("approval:finance-leads") forbid (principal, {scope}, resource) '
    "when {{ !resource.readOnly }} unless {{ context.base has approval && context.base.approval.argsMatch }};"
)
ANSWER = (
    '@id("answer") permit (principal in Gateway::Role::"finance-leads", action == Gateway::Action::"approve", {of});'
)
EVERYTHING = (PERMIT_ALL, ASK.format(scope=CALL), ANSWER.format(of="resource"))
LEAD = Approver("bob@acme.example", roles=("finance-leads",))
OTHER = Approver("eve@acme.example")


@pytest.mark.parametrize("people", [(), (OTHER,)])
def test_a_question_that_nobody_may_answer_is_pointed_at_with_what_it_is_about(people: tuple[Approver, ...]) -> None:
    [problem] = unanswered(load(*EVERYTHING, tools=[PAY, CHECK]), people)
    assert (problem.code, "payments.pay" in problem.message) == ("nobody_approves", True)
    assert "`people:`" in problem.message
    assert "`approve`" in problem.fix


def test_a_question_that_somebody_may_answer_is_none() -> None:
    assert list(unanswered(load(*EVERYTHING, tools=[PAY]), (OTHER, LEAD))) == []


def test_somebody_who_may_answer_for_one_tool_does_not_answer_for_another() -> None:
    refund = replace(PAY, name="payments.refund", wire_name="payments_refund", upstream_name="refund")
    only = ANSWER.format(of='resource == Gateway::Tool::"payments.pay"')
    [problem] = unanswered(load(PERMIT_ALL, ASK.format(scope=CALL), only, tools=[PAY, refund]), (LEAD,))
    assert ("payments.refund" in problem.message, "payments.pay" in problem.message) == (True, False)


@pytest.mark.parametrize(
    "texts",
    [
        (PERMIT_ALL, ASK.format(scope='action == Gateway::Action::"fraud.check"')),
        (ASK.format(scope=CALL),),
        (PERMIT_ALL, ASK.format(scope=CALL).replace('@id("ask")', '@id("ask") @mode("shadow")')),
    ],
    ids=["of another tool", "nobody may call it", "only in shadow"],
)
def test_what_is_never_asked_needs_no_answer(texts: tuple[str, ...]) -> None:
    assert list(unanswered(load(*texts, tools=[PAY, CHECK]), ())) == []


def test_of_many_tools_the_first_are_named() -> None:
    tools = [replace(PAY, name=f"payments.p{n}", wire_name=f"payments_p{n}", upstream_name=f"p{n}") for n in range(5)]
    [problem] = unanswered(load(*EVERYTHING, tools=tools), ())
    assert "payments.p0, payments.p1, payments.p2 and 2 more" in problem.message
