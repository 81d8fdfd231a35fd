"""A person changes the arguments, and an agent asks how its calls stand."""

from typing import Any

import pytest

from gateway.approval.values import ApprovalRefused
from gateway.model.outcome import Failed, Succeeded
from tests.pipeline.gate import PAYMENT, PERMIT_ALL
from tests.pipeline.people import ASK, LEADS, TWO, a_gate, asked, is_done, paid, shown


async def test_edited_arguments_are_another_approval_and_the_agent_is_told_to_make_that_call() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    less = {**PAYMENT, "amount": 100}
    edited = await gate.approving.desk.edit("bob", approval_id, less, "a first part")
    assert edited.status(gate.clock.now_ms()) == "approved"
    told = shown(gate, await gate.run("payments_pay"))
    assert (told["code"], told["approval"]) == ("approval_edited", edited.id)
    assert told["remedies"] == [{"tool": "payments_pay", "arguments": less}]
    assert "Make this call instead: payments_pay" in told["text"]
    assert is_done((await gate.run("payments_pay", less)).outcome)
    assert paid(gate) == [less]
    assert (await gate.approving.desk.find(approval_id)).status(gate.clock.now_ms()) == "edited"
    with pytest.raises(ApprovalRefused):
        await gate.approving.desk.approve("carol", approval_id)


async def test_an_edit_is_one_voice_of_a_quorum() -> None:
    gate = a_gate(PERMIT_ALL, TWO, LEADS)
    less = {**PAYMENT, "amount": 100}
    heard: list[str] = []
    gate.approving.tell(lambda approval: heard.append(approval.id))
    first = await asked(gate)
    edited = await gate.approving.desk.edit("bob", first, less)
    assert heard == [first, edited.id]
    assert edited.status(gate.clock.now_ms()) == "pending"
    assert await asked(gate, less) == edited.id
    await gate.approving.desk.approve("carol", edited.id)
    assert is_done((await gate.run("payments_pay", less)).outcome)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (PAYMENT, "unchanged"),
        ({**PAYMENT, "amount": "much"}, "invalid_arguments"),
        ({**PAYMENT, "payee": "sk-upstream-0123456789"}, "holds_a_secret"),
        ({**PAYMENT, "payee": "to [redacted]"}, "holds_a_secret"),
        ({**PAYMENT, "payee": "Mallory"}, "policies_refuse"),
    ],
)
async def test_an_edit_that_could_not_be_carried_out_is_refused(arguments: dict[str, Any], code: str) -> None:
    never = '@id("never") forbid (principal, action == Gateway::Action::"payments.pay", resource)'
    never += ' when { context.input has payee && context.input.payee == "Mallory" };'
    gate = a_gate(PERMIT_ALL, ASK, LEADS, never)
    approval_id = await asked(gate)
    with pytest.raises(ApprovalRefused) as refused:
        await gate.approving.desk.edit("bob", approval_id, arguments)
    assert refused.value.code == code
    assert await asked(gate) == approval_id


async def test_an_edit_to_a_call_that_waits_already_is_refused() -> None:
    gate = a_gate()
    less = {**PAYMENT, "amount": 100}
    one, _ = await asked(gate), await asked(gate, less)
    with pytest.raises(ApprovalRefused) as refused:
        await gate.approving.desk.edit("bob", one, less)
    assert refused.value.code == "approval_changed"


async def test_an_agent_asks_how_its_own_approvals_stand_and_nobody_elses() -> None:
    gate = a_gate()
    approval_id = await asked(gate)

    async def said(agent: str = "payer", **more: Any) -> Any:
        outcome = (await gate.run("approvals_wait", {"approval": approval_id, "seconds": 0, **more}, agent)).outcome
        if isinstance(outcome, Failed):
            return outcome.error.code
        assert isinstance(outcome, Succeeded)
        return outcome.result["structuredContent"]

    call = {"tool": "payments_pay", "arguments": PAYMENT}
    assert await said() == {"approval": approval_id, "state": "pending", "call": call}
    assert await said("other") == "invalid_arguments"
    assert await said(approval="apr_none") == "invalid_arguments"
    await gate.approving.desk.approve("bob", approval_id)
    assert await said() == {"approval": approval_id, "state": "approved", "call": call}
    await gate.run("payments_pay")
    assert (await said())["state"] == "used"


async def test_an_agent_that_waits_is_told_of_a_refusal_or_of_other_arguments() -> None:
    gate = a_gate()
    one, other = await asked(gate), await asked(gate, {**PAYMENT, "amount": 7})
    await gate.approving.desk.deny("bob", one, "no")
    edited = await gate.approving.desk.edit("bob", other, {**PAYMENT, "amount": 6})
    denied = (await gate.run("approvals_wait", {"approval": one})).outcome
    assert isinstance(denied, Succeeded)
    assert denied.result["structuredContent"] == {"approval": one, "state": "denied"}
    assert "denied this call: no" in denied.result["content"][0]["text"]
    changed = (await gate.run("approvals_wait", {"approval": other})).outcome
    assert isinstance(changed, Succeeded)
    assert changed.result["structuredContent"]["call"]["arguments"] == {**PAYMENT, "amount": 6}
    assert edited.id != other
