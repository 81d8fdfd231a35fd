"""Answers are labelled, and what depends on them can be refused for it."""

import json
from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.model.answers import Label
from gateway.model.outcome import Denied, Failed, Succeeded, Unknown
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer

HEEDING = """
@id("pay.on-everything")
@prior("check: fraud.check by payment_id=payment_id in run")
@message("The check must be complete.")
@remedy("fraud.check")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
unless { context.prior has check && context.prior.check.status == "ok" &&
  !context.prior.check.labels.contains("incomplete") };
"""
PAGED = ToolRule.model_validate({"incomplete": {"more": ["next"]}, "stale": {"at": "seen", "after": "10m"}})


def checked(**more: Any) -> dict[str, Any]:
    return answer({"result": "passed", "seen": 1_800_000_000, **more})


def gate(*answers: Any) -> Gate:
    made = Gate(PERMIT_ALL, HEEDING, tools={"fraud.check": PAGED})
    made.servers["fraud"].calls += answers
    return made


async def test_a_truncated_answer_is_labelled_recorded_and_what_depends_on_it_denied() -> None:
    home = gate(checked(next="page 2"), checked())
    ended = await home.run("fraud_check")
    assert ended.call.labels == (Label.INCOMPLETE,)
    assert json.loads((await home.events(ended.call.id))[-1].body)["labels"] == ["incomplete"]
    denied = (await home.run("payments_pay")).outcome
    assert isinstance(denied, Denied)
    assert (denied.decision.policies, denied.decision.message) == (
        ("pay.on-everything",),
        "The check must be complete.",
    )
    assert not (await home.run("fraud_check")).call.has("labels")
    assert isinstance((await home.run("payments_pay")).outcome, Succeeded)


async def test_an_old_answer_is_labelled_stale() -> None:
    home = gate(checked(seen=1_799_999_000, next=1))
    assert (await home.run("fraud_check")).call.labels == (Label.INCOMPLETE, Label.STALE)


async def test_an_answer_that_its_connector_marks_is_labelled_whatever_is_declared() -> None:
    home = Gate()
    home.servers["payments"].calls.append(answer(_meta={"io.toolgate/incomplete": {"reason": "more rows"}}))
    assert (await home.run("payments_list", {})).call.labels == (Label.INCOMPLETE,)


async def test_a_tools_own_error_is_not_labelled() -> None:
    home = gate(answer(isError=True))
    assert not (await home.run("fraud_check")).call.has("labels")


async def test_an_answer_from_the_record_keeps_its_labels() -> None:
    rule = ToolRule.model_validate({"incomplete": {"more": ["next"]}, "idempotency_key": ["payment_id"]})
    home = Gate(tools={"payments.pay": rule})
    home.servers["payments"].calls.append(answer({"next": 1}))
    await home.run("payments_pay")
    again = await home.run("payments_pay")
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from is not None
    assert again.call.labels == (Label.INCOMPLETE,)


@pytest.mark.parametrize("value", [{"result": "passed", "score": 0}, {"result": "passed"}])
async def test_an_answer_that_breaks_an_assertion_is_withheld_and_what_depends_on_it_denied(value: Any) -> None:
    home = Gate(PERMIT_ALL, HEEDING, tools={"fraud.check": ToolRule(ensure={"score": "> 0"})})
    home.servers["fraud"].calls.append(answer(value))
    failed = (await home.run("fraud_check")).outcome
    assert isinstance(failed, Failed)
    assert failed.error.code == "contract_broken"
    assert 'score is not "> 0"' in failed.error.message
    assert isinstance((await home.run("payments_pay")).outcome, Denied)


async def test_an_effect_whose_answer_breaks_an_assertion_is_in_doubt() -> None:
    home = Gate(tools={"payments.pay": ToolRule(ensure={"state": "settled"})})
    home.servers["payments"].calls.append(answer({"state": "lost"}))
    ended = await home.run("payments_pay", PAYMENT)
    assert isinstance(ended.outcome, Unknown)
    assert ended.outcome.error.code == "contract_broken"


async def test_an_error_of_the_tool_is_not_held_against_assertions() -> None:
    home = Gate(tools={"payments.pay": ToolRule(ensure={"state": "settled"})})
    home.servers["payments"].calls.append(answer(isError=True))
    assert isinstance((await home.run("payments_pay")).outcome, Succeeded)
