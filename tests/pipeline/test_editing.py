"""A person changes the arguments, and an agent asks how its calls stand."""

from typing import Any

import pytest

from gateway.approval.config import ApprovalsSection
from gateway.approval.values import ApprovalRefused
from gateway.model.outcome import Failed, Succeeded
from gateway.pipeline.desk import Grant
from gateway.store.approvals import ApprovalAsk, ApprovalChange
from gateway.store.memory import MemoryStore
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate
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
    answer = await said()
    assert "Nobody has decided it yet" in answer.pop("message")
    assert answer == {"approval": approval_id, "state": "pending", "call": call}
    assert await said("other") == "invalid_arguments"
    assert await said(approval="apr_none") == "invalid_arguments"
    await gate.approving.desk.approve("bob", approval_id)
    answer = await said()
    assert "Repeat" in answer.pop("message")
    assert answer == {"approval": approval_id, "state": "approved", "call": call}
    await gate.run("payments_pay")
    assert (await said())["state"] == "used"


async def test_an_agent_that_waits_is_told_of_a_refusal_or_of_other_arguments() -> None:
    gate = a_gate()
    one, other = await asked(gate), await asked(gate, {**PAYMENT, "amount": 7})
    await gate.approving.desk.deny("bob", one, "no")
    edited = await gate.approving.desk.edit("bob", other, {**PAYMENT, "amount": 6})
    denied = (await gate.run("approvals_wait", {"approval": one})).outcome
    assert isinstance(denied, Succeeded)
    why = "bob was asked and denied this call: no"  # in both, for clients show their models one of the two
    assert denied.result["structuredContent"] == {"approval": one, "state": "denied", "message": why}
    assert denied.result["content"][0]["text"] == f"{one}: denied. {why}"
    changed = (await gate.run("approvals_wait", {"approval": other})).outcome
    assert isinstance(changed, Succeeded)
    assert changed.result["structuredContent"]["call"]["arguments"] == {**PAYMENT, "amount": 6}
    assert edited.id != other


def due(within: str) -> ApprovalsSection:
    return ApprovalsSection(wait_s=0, answer_within=within)


async def kinds(gate: Gate) -> list[str]:
    return [str(event.kind) for event in await gate.events() if event.kind.startswith("approval.")]


async def test_what_nobody_answered_in_time_is_on_record_once_and_waits_on() -> None:
    gate = a_gate(PERMIT_ALL, TWO, LEADS, approvals=due("1h"))
    approvals, desk = gate.approving.approvals, gate.approving.desk
    approval = await asked(gate)
    gate.clock.passed += 3599
    assert await approvals.overdue() == []
    gate.clock.passed += 1
    [late] = await approvals.overdue()
    assert (late.id, late.overdue, await approvals.overdue()) == (approval, True, [])
    await desk.approve("bob", approval)  # half of it, late
    await desk.assign("bob", approval, "carol")
    assert await approvals.overdue() == []
    found = await approvals.find(approval)
    assert (found.overdue, found.assigned, len(found.consents)) == (True, "carol", 1)
    await desk.approve("carol", approval)
    assert is_done((await gate.run("payments_pay")).outcome)
    told = "asked", "overdue", "approved", "assigned", "approved", "used"
    assert await kinds(gate) == [f"approval.{each}" for each in told]


async def test_what_was_answered_in_time_or_only_expires_is_not_late() -> None:
    gate = a_gate(approvals=due("1h"))
    await gate.approving.desk.approve("bob", await asked(gate))
    gate.clock.passed += 3600
    assert await gate.approving.approvals.overdue() == []
    never = a_gate(approvals=due("24h"))
    await asked(never)
    never.clock.passed += 24 * 3600
    assert await never.approving.approvals.overdue() == []


async def test_what_is_late_is_told_however_much_was_asked_after_it() -> None:
    gate = a_gate(approvals=due("1h"))
    first = await asked(gate)
    gate.clock.passed += 1800
    for amount in range(1001):
        await asked(gate, {**PAYMENT, "amount": amount})
    gate.clock.passed += 1800
    assert [each.id for each in await gate.approving.approvals.overdue()] == [first]


class Busy(MemoryStore):
    """One in which somebody else was always a moment faster."""

    async def change_approval(self, change: ApprovalChange, opens: ApprovalAsk | None = None) -> bool:
        return False


async def test_who_answers_at_the_very_moment_is_not_late() -> None:
    clock = FakeClock()
    gate = a_gate(approvals=due("1h"), clock=clock, store=Busy(clock))
    await asked(gate)
    clock.passed += 3600
    assert await gate.approving.approvals.overdue() == []


async def test_only_who_may_answer_is_to_answer() -> None:
    gate = a_gate()
    desk, approval = gate.approving.desk, await asked(gate)
    nobody = ("dan", "bob", "may_not_approve"), ("bob", "dan", "may_not_approve"), ("bob", "x", "unknown_person")
    for by, to, code in nobody:
        with pytest.raises(ApprovalRefused) as refused:
            await desk.assign(by, approval, to)
        assert refused.value.code == code
    assert (await desk.assign("bob", approval, "carol")).assigned == "carol"
    await desk.approve("bob", approval)  # others still may
    with pytest.raises(ApprovalRefused):
        await desk.assign("bob", approval, "bob")
    standing = await desk.grant("bob", Grant("payer", "payments.pay", 1, 1_900_000_000_000))
    with pytest.raises(ApprovalRefused, match="is a standing approval"):
        await desk.assign("bob", standing.id, "bob")
