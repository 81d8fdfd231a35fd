"""What is irreversible, has no compensation and asks nobody is refused by the linter."""

from dataclasses import replace

import pytest

from gateway.model.tool import Effect, Tool
from gateway.policy.unguarded import unguarded
from tests.policy.acme import CALL, PAY, PERMIT_ALL, load

ASK = (
    '@id("ask") @obligation("approval:finance-leads") forbid (principal, {scope}, resource) '
    "unless {{ context.base has approval && context.base.approval.argsMatch }};"
)


def found(*texts: str, tool: Tool = PAY) -> list[str]:
    return [problem.code for problem in unguarded(load(*texts, tools=[tool]))]


def test_an_irreversible_tool_that_asks_nobody_is_refused_and_the_fix_named() -> None:
    [problem] = unguarded(load(PERMIT_ALL, tools=[PAY]))
    assert (problem.code, "payments.pay" in problem.message, "undo" in problem.fix) == (
        "irreversible_unguarded",
        True,
        True,
    )


@pytest.mark.parametrize(
    "tool",
    [
        replace(PAY, undo="payments.refund"),
        replace(PAY, accept_irreversible=True),
        replace(PAY, effect=Effect.WRITE),
        replace(PAY, quarantined="it changed"),
    ],
)
def test_a_tool_with_a_compensation_or_whose_harm_is_accepted_is_not(tool: Tool) -> None:
    assert found(PERMIT_ALL, tool=tool) == []


@pytest.mark.parametrize(
    "texts",
    [
        (PERMIT_ALL, ASK.format(scope=CALL)),
        (PERMIT_ALL, ASK.format(scope='action == Gateway::Action::"payments.pay"')),
        (f'@id("a") permit (principal, {CALL}, resource in Gateway::Server::"fraud");',),
    ],
)
def test_a_tool_that_a_person_is_asked_about_or_that_nobody_may_call_is_not(texts: tuple[str, ...]) -> None:
    assert found(*texts) == []


def test_an_approval_that_is_only_asked_in_shadow_guards_nothing() -> None:
    shadow = ASK.format(scope=CALL).replace('@id("ask")', '@id("ask") @mode("shadow")')
    assert found(PERMIT_ALL, shadow) == ["irreversible_unguarded"]
