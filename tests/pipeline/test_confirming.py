"""An effect is believed once another tool says that it happened, where the operator wants that."""

from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.catalog.declared import lookup_problems
from gateway.catalog.lookups import LookupRule
from gateway.connector import ConnectorFault
from gateway.model.facts import StepStatus
from gateway.model.outcome import Denied, Succeeded, Unknown
from tests.pipeline.gate import PERMIT_ALL, Gate, answer, rules_of

DONE = answer({"receipt": "r_1"})
AFTER_EACH = LookupRule.model_validate(
    {
        "tool": "payments.list",
        "arguments": {"constant": {"limit": 1}},
        "happened": {"status": ["accepted", "settled"]},
        "absent": {"status": "unknown"},
        "after_each": True,
    }
)
PAID_BEFORE = """
@id("paid-before") @prior("payment: payments.pay in run")
forbid (principal, action == Gateway::Action::"mail.send", resource)
unless { context.prior has payment && context.prior.payment.status == "ok" };
"""


def confirming(*policies: str) -> Gate:
    gate = Gate()
    rules = {"payments.pay": ToolRule(effect="irreversible", lookup=AFTER_EACH)}
    gate.rules.current = rules_of(PERMIT_ALL, *policies, tools=rules)
    return gate


def asked(gate: Gate) -> list[str]:
    return [call.tool for call in gate.servers["payments"].asked]


async def test_what_is_confirmed_is_answered_as_its_tool_answered() -> None:
    gate = confirming()
    gate.servers["payments"].calls += [DONE, answer({"status": "settled"})]
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Succeeded)
    assert ended.outcome.result["structuredContent"] == {"receipt": "r_1"}
    assert asked(gate) == ["pay", "list"]


@pytest.mark.parametrize(
    "said",
    [
        answer({"status": "unknown"}),
        answer({"status": "failed"}),
        ConnectorFault("down", code="unavailable", sent=False),
    ],
)
async def test_what_is_not_confirmed_is_in_doubt_and_looked_up_again(said: Any) -> None:
    gate = confirming()
    gate.servers["payments"].calls += [DONE, *[said] * 3]
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Unknown)
    assert ended.outcome.error.code == "outcome_unknown"
    assert "payments.list" in ended.outcome.error.message
    gate.servers["payments"].calls[:] = [answer({"status": "settled"})]
    repeated = await gate.run("payments_pay")
    assert isinstance(repeated.outcome, Succeeded)
    assert repeated.outcome.replayed_from == ended.call.id
    assert asked(gate).count("pay") == 1


async def test_what_depends_on_it_is_denied_until_it_is_confirmed() -> None:
    gate = confirming(PAID_BEFORE)
    gate.servers["payments"].calls += [DONE, answer({"status": "failed"})]
    await gate.run("payments_pay")
    denied = await gate.run("mail_send", {"to": "a"})
    assert isinstance(denied.outcome, Denied)


async def test_a_tools_own_error_needs_nobody_to_confirm_it() -> None:
    gate = confirming()
    gate.servers["payments"].calls += [answer({"receipt": ""}, isError=True)]
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Succeeded)
    made = await gate.store.made(ended.call.id)
    assert made is not None
    assert made.status is StepStatus.FAILED
    assert asked(gate) == ["pay"]


@pytest.mark.parametrize(
    ("lookup", "why"),
    [
        ("payments.list", ""),
        ("silent.find", ""),
        ("payments.lost", "which is no tool"),
        ("payments.settle", "which has the effect write"),
    ],
)
def test_a_lookup_that_can_never_answer_is_refused_at_load(lookup: str, why: str) -> None:
    tools = rules_of(tools={"payments.pay": ToolRule(lookup=lookup)}).catalog.tools()
    assert [why in each.message for each in lookup_problems(tools, ["payments", "silent"])] == [True] * bool(why)
