"""A call that only lacks an approval: people are asked, and their consent is good for exactly that call, once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.approval.config import ApprovalsSection
from gateway.approval.values import ApprovalRefused
from gateway.connector.about import About
from gateway.model.facts import Approver
from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.pipeline.approving import Approving, Ground
from gateway.pipeline.desk import described
from gateway.pipeline.rules import Rules
from gateway.policy import Bundle, LoadOptions
from gateway.store.approvals import ApprovalTrail
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventKind, Recorded
from gateway.store.runs import RunCancel
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import DEFINITIONS, PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, caller, rules_of, settle
from tests.pipeline.people import (
    ASK,
    CAROL,
    HOUR,
    LEADS,
    PEOPLE,
    POLICIES,
    TWO,
    a_gate,
    asked,
    changed_policies,
    changed_tool,
    is_done,
    paid,
    shown,
    waits,
)


async def test_a_call_waits_for_a_person_and_is_carried_out_once_when_it_comes_again() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    assert paid(gate) == []
    assert await asked(gate) == approval_id  # asking again asks nobody again
    approved = await gate.approving.desk.approve("bob", approval_id, "fine")
    assert approved.status(gate.clock.now_ms()) == "approved"
    done = await gate.run("payments_pay")
    assert is_done(done.outcome)
    assert paid(gate) == [PAYMENT]
    used = await gate.approving.desk.find(approval_id)
    assert (used.status(gate.clock.now_ms()), used.used) == ("used", 1)
    [claim] = [event for event in await gate.events(done.call.id) if event.kind is EventKind.CALL_CLAIMED]
    assert f'"approval":"{approval_id}"' in claim.body
    assert '"by":[{"name":"bob"' in claim.body
    again = await gate.run("payments_pay")
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == done.call.id
    assert paid(gate) == [PAYMENT]
    await gate.store.verify()


async def test_an_agent_is_told_whom_it_waits_for_and_how_to_go_on() -> None:
    gate = a_gate(PERMIT_ALL, TWO, LEADS)
    ended = await gate.run("payments_pay")
    told = shown(gate, ended)
    approval_id = waits(ended.outcome)
    assert (told["code"], told["approval"], told["on"]) == ("needs_approval", approval_id, approval_id)
    assert told["retryable"] is True
    for said in ("Payments are looked at first.", "2 people", "leads", "approvals_wait", approval_id, "UTC"):
        assert said in told["text"]


async def test_a_call_that_was_delivered_is_over_and_the_next_one_is_asked_about_anew() -> None:
    gate = a_gate()
    first = await asked(gate)
    await gate.approving.desk.approve("bob", first)
    done = await gate.run("payments_pay")
    await gate.store.deliver(done.call.id)
    assert await asked(gate) != first
    assert len(paid(gate)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"arguments": {**PAYMENT, "payee": "ACME."}},
        {"arguments": {**PAYMENT, "amount": 250.01}},
        {"agent": "other"},
        {"run": "another piece of work"},
    ],
)
async def test_whatever_differs_is_another_call(other: dict[str, Any]) -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    await gate.approving.desk.approve("bob", approval_id)
    assert await asked(gate, **other) != approval_id
    assert paid(gate) == []


async def test_the_same_amount_written_otherwise_is_the_same_call() -> None:
    gate = a_gate()
    await gate.approving.desk.approve("bob", await asked(gate))
    assert is_done((await gate.run("payments_pay", {**PAYMENT, "amount": 250.0})).outcome)


@pytest.mark.parametrize("changed", [changed_tool, changed_policies])
async def test_an_approval_given_under_other_policies_or_for_another_schema_is_void(changed: Any) -> None:
    gate = a_gate()
    given, pending = await asked(gate), await asked(gate, {**PAYMENT, "amount": 1})
    await gate.approving.desk.approve("bob", given)
    gate.rules.current = changed()
    assert await asked(gate) != given
    with pytest.raises(ApprovalRefused, match="changed since") as refused:
        await gate.approving.desk.approve("bob", pending)
    assert refused.value.code == "approval_void"
    assert (await gate.approving.desk.find(pending)).status(gate.clock.now_ms()) == "revoked"
    assert paid(gate) == []


async def test_a_tool_that_is_gone_cannot_be_approved() -> None:
    gate = a_gate()
    pending = await asked(gate)
    less = {**DEFINITIONS, "payments": DEFINITIONS["payments"][1:]}
    gate.rules.current = rules_of(PERMIT_ALL, LEADS, people=PEOPLE, definitions=less)
    with pytest.raises(ApprovalRefused):
        await gate.approving.desk.approve("bob", pending)


async def test_an_approval_that_was_not_used_in_time_counts_for_nothing() -> None:
    gate = a_gate()
    given = await asked(gate)
    await gate.approving.desk.approve("bob", given)
    gate.clock.passed += HOUR / 1000
    assert await asked(gate) != given
    assert paid(gate) == []


async def test_a_question_nobody_answered_ends_and_is_asked_anew() -> None:
    gate = a_gate()
    old = await asked(gate)
    gate.clock.passed += 24 * HOUR / 1000
    with pytest.raises(ApprovalRefused, match="expired"):
        await gate.approving.desk.approve("bob", old)
    assert await asked(gate) != old
    assert await gate.approving.approvals.expire() == 1
    assert await gate.approving.approvals.expire() == 0
    assert EventKind.APPROVAL_EXPIRED in await gate.kinds(old)
    await gate.store.verify()


@pytest.mark.parametrize(
    ("who", "code"),
    [("dan", "may_not_approve"), ("mallory", "unknown_person"), ("eve", "may_not_approve")],
)
async def test_only_whom_the_policies_let_may_approve(who: str, code: str) -> None:
    gate = a_gate(
        PERMIT_ALL, ASK, LEADS, '@id("not-eve") forbid (principal == Gateway::User::"eve", action, resource);'
    )
    approval_id = await asked(gate)
    with pytest.raises(ApprovalRefused) as refused:
        await gate.approving.desk.approve(who, approval_id)
    assert refused.value.code == code
    assert await asked(gate) == approval_id


async def test_whoever_the_call_itself_would_not_take_an_approval_of_cannot_give_it() -> None:
    anyone = '@id("anyone") permit (principal, action == Gateway::Action::"approve", resource);'
    gate = a_gate(PERMIT_ALL, ASK, anyone)
    with pytest.raises(ApprovalRefused, match="do not take dan's") as refused:
        await gate.approving.desk.approve("dan", await asked(gate))
    assert refused.value.code == "policies_refuse"


SELF = LEADS.replace('@id("leads.approve")', '@id("leads.approve") @obligation("self_approval:allowed")')


@pytest.mark.parametrize("spelled", ["bob", "BOB"])
async def test_nobody_approves_what_is_done_for_them(spelled: str) -> None:
    gate = a_gate()
    rules = gate.rules.current
    agent = replace(rules.bundle.agents["payer"], owner=spelled)
    gate.rules.current = replace(rules, bundle=rebuilt(rules, agent))
    approval_id = await asked(gate)
    with pytest.raises(ApprovalRefused, match="another person has to"):
        await gate.approving.desk.approve("bob", approval_id)
    await gate.approving.desk.approve("carol", approval_id)
    assert is_done((await gate.run("payments_pay")).outcome)


def rebuilt(rules: Rules, agent: Any) -> Any:
    options = LoadOptions(fulfils=frozenset({"redact", "self_approval"}))
    return Bundle.load(rules.bundle.sources, list(rules.bundle.tools.values()), [agent], options)


async def test_an_alias_is_the_same_person_and_a_policy_may_let_them() -> None:
    gate = a_gate()
    rules = gate.rules.current
    agent = replace(rules.bundle.agents["payer"], owner="robert@acme.example")
    aliased = {"bob": ["robert@acme.example"]}
    gate.rules.current = replace(rules, bundle=rebuilt(rules, agent), aliases=aliased)
    approval_id = await asked(gate)
    with pytest.raises(ApprovalRefused, match="another person has to"):
        await gate.approving.desk.approve("bob", approval_id)
    willing = rules_of(PERMIT_ALL, ASK, SELF, people=PEOPLE)
    gate.rules.current = replace(willing, bundle=rebuilt(willing, agent), aliases=aliased)
    await gate.approving.desk.approve("bob", await asked(gate))
    assert is_done((await gate.run("payments_pay")).outcome)


async def test_half_a_quorum_is_none_and_one_person_is_never_two() -> None:
    gate = a_gate(PERMIT_ALL, TWO, LEADS)
    approval_id = await asked(gate)
    await gate.approving.desk.approve("bob", approval_id)
    assert await asked(gate) == approval_id
    with pytest.raises(ApprovalRefused) as refused:
        await gate.approving.desk.approve("bob", approval_id)
    assert refused.value.code == "voted_already"
    assert await asked(gate) == approval_id
    await gate.approving.desk.approve("carol", approval_id)
    assert is_done((await gate.run("payments_pay")).outcome)
    assert len(paid(gate)) == 1


async def test_a_consent_that_was_taken_back_does_not_count() -> None:
    gate = a_gate(PERMIT_ALL, TWO, LEADS)
    approval_id = await asked(gate)
    with pytest.raises(ApprovalRefused) as refused:
        await gate.approving.desk.withdraw("bob", approval_id)
    assert refused.value.code == "not_voted"
    await gate.approving.desk.approve("bob", approval_id)
    await gate.approving.desk.approve("carol", approval_id)
    back = await gate.approving.desk.withdraw("bob", approval_id)
    assert back.status(gate.clock.now_ms()) == "pending"
    assert await asked(gate) == approval_id
    assert paid(gate) == []


async def test_who_has_lost_the_right_since_does_not_count_and_the_call_goes_on_waiting() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    await gate.approving.desk.approve("bob", approval_id)
    gate.rules.current = replace(gate.rules.current, people={"bob": Approver("bob"), "carol": CAROL})
    ended = await gate.run("payments_pay")
    assert waits(ended.outcome) == approval_id
    assert "not enough for it any more" in shown(gate, ended)["text"]
    gate.rules.current = replace(gate.rules.current, people={"carol": CAROL})
    assert await asked(gate) == approval_id
    assert paid(gate) == []


async def test_a_refusal_outweighs_consents_and_is_told_to_the_agent() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    await gate.approving.desk.approve("bob", approval_id)
    await gate.approving.desk.deny("carol", approval_id, "wrong account")
    ended = await gate.run("payments_pay")
    told = shown(gate, ended)
    assert (told["code"], told["approval"], told["retryable"]) == ("approval_denied", approval_id, False)
    assert "carol was asked and denied this call: wrong account" in told["text"]
    with pytest.raises(ApprovalRefused, match="denied"):
        await gate.approving.desk.approve("bob", approval_id)
    gate.clock.passed += 24 * HOUR / 1000
    assert await asked(gate) != approval_id


async def test_who_the_call_is_for_may_deny_it() -> None:
    gate = a_gate()
    agent = replace(gate.rules.current.bundle.agents["payer"], owner="bob")
    gate.rules.current = replace(gate.rules.current, bundle=rebuilt(gate.rules.current, agent))
    denied = await gate.approving.desk.deny("bob", await asked(gate))
    assert denied.state == "denied"
    with pytest.raises(ApprovalRefused, match="no policy lets dan"):
        await gate.approving.desk.deny("dan", denied.id)


async def test_two_who_decide_at_once_decide_one_after_the_other() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    desk = gate.approving.desk
    said = await asyncio.gather(
        desk.approve("bob", approval_id), desk.approve("carol", approval_id), return_exceptions=True
    )
    assert sum(isinstance(each, ApprovalRefused) for each in said) == 1
    assert is_done((await gate.run("payments_pay")).outcome)
    assert len(paid(gate)) == 1


async def test_of_two_repeats_at_once_in_different_conversations_one_is_carried_out() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    await gate.approving.desk.approve("bob", approval_id)
    ended = await asyncio.gather(
        *(gate.run("payments_pay", caller=caller(session=f"s{number}")) for number in range(6))
    )
    assert sum(is_done(each.outcome) for each in ended) == 1
    assert len({waits(each.outcome) for each in ended if not is_done(each.outcome)}) == 1
    assert len(paid(gate)) == 1
    await gate.store.verify()


async def test_a_call_that_certainly_did_nothing_may_be_tried_again() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    await gate.approving.desk.approve("bob", approval_id)
    gate.servers["payments"].calls.append(answer(isError=True))
    await gate.run("payments_pay")
    gate.servers["payments"].calls.append(answer({"receipt": "r"}))
    assert is_done((await gate.run("payments_pay")).outcome)
    assert (await gate.approving.desk.find(approval_id)).used == 1
    assert EventKind.APPROVAL_RETURNED in await gate.kinds(approval_id)
    await gate.store.verify()


async def test_a_precondition_is_asked_for_before_people_are() -> None:
    gate = a_gate(PERMIT_ALL, PRECONDITION, ASK, LEADS)
    refused = (await gate.run("payments_pay")).outcome
    assert isinstance(refused, Denied)
    assert refused.decision.remedies
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check")
    approval_id = await asked(gate)
    await gate.approving.desk.approve("bob", approval_id)
    assert is_done((await gate.run("payments_pay")).outcome)


async def test_without_people_a_call_is_refused_and_says_what_is_missing() -> None:
    gate = Gate(*POLICIES)
    refused = (await gate.run("payments_pay")).outcome
    assert isinstance(refused, Denied)
    assert "`people:`" in refused.decision.message
    assert await gate.approving.desk.listed() == []


async def test_a_quick_decision_is_waited_for() -> None:
    gate = a_gate()
    gate.approving.parking._patience_s = 30.0
    calling = asyncio.create_task(gate.run("payments_pay"))
    await settle()
    [waiting] = await gate.approving.desk.listed()
    await gate.approving.desk.approve("bob", waiting.id)
    assert is_done((await calling).outcome)
    assert len(gate.approving.approvals._ring) == 0


async def test_an_approval_outlives_the_gateway() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    reborn = a_gate(store=gate.store, clock=gate.clock, ids=gate.ids)
    assert await asked(reborn) == approval_id
    await reborn.approving.desk.approve("bob", approval_id)
    again = a_gate(store=gate.store, clock=gate.clock, ids=gate.ids)
    assert is_done((await again.run("payments_pay")).outcome)
    assert [len(paid(each)) for each in (gate, reborn, again)] == [0, 0, 1]


async def test_what_is_kept_and_shown_of_a_question_holds_no_secret() -> None:
    gate = a_gate()
    approval_id = await asked(gate, {**PAYMENT, "payee": "sk-upstream-0123456789"})
    shown_ = described(await gate.approving.desk.find(approval_id), gate.clock.now_ms())
    assert "sk-upstream" not in str(shown_)
    assert not any("sk-upstream" in event.body for event in await gate.events())
    told = (await gate.run("approvals_wait", {"approval": approval_id})).outcome
    assert isinstance(told, Succeeded)
    answer = told.result["structuredContent"]
    assert (answer["state"], answer.keys()) == ("pending", {"approval", "state", "message"})  # the mask is no argument
    await gate.approving.desk.approve("bob", approval_id)
    assert is_done((await gate.run("payments_pay", {**PAYMENT, "payee": "sk-upstream-0123456789"})).outcome)


async def test_people_are_shown_who_answers_for_the_server_of_a_call() -> None:
    gate = a_gate()
    about = About(owner="payments team", contact="#pay")
    gate.rules.current = replace(gate.rules.current, abouts={"payments": about})
    approval = await gate.approving.desk.find(await asked(gate))
    assert described(approval, 0)["server"] == {"owner": "payments team", "contact": "#pay"}


async def test_what_waits_costs_no_memory_and_is_swept_from_the_record() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    gate = a_gate(store=store, clock=clock)
    for number in range(20):
        await asked(gate, {**PAYMENT, "payment_id": f"p{number}"})
    assert len(gate.approving.approvals._ring) == 0
    clock.passed += 24 * HOUR / 1000
    ground = Ground(store, gate.rules, clock, gate.ids, gate.redactor.record)
    watching = asyncio.create_task(Approving(ground, ApprovalsSection()).watch())
    await settle()
    watching.cancel()
    assert await gate.approving.desk.listed() == []
    assert len(await gate.approving.desk.listed(is_open=False)) == 20
    assert (await gate.kinds()).count(EventKind.APPROVAL_EXPIRED) == 20


async def test_a_changed_row_approves_nothing_and_says_that_the_ledger_does_not_hold() -> None:
    gate = a_gate()
    approval_id = await asked(gate)
    shelf = gate.store._shelf
    shelf.rows[approval_id] = shelf.rows[approval_id]._replace(state="approved")
    refused = (await gate.run("payments_pay")).outcome
    assert isinstance(refused, Failed)
    assert refused.error.code == "ledger_tampered"
    assert paid(gate) == []


async def test_a_call_under_way_is_joined_and_not_asked_about_again() -> None:
    gate = a_gate()
    await gate.approving.desk.approve("bob", await asked(gate, idempotency_key="k"))
    going = asyncio.Event()
    gate.servers["payments"].calls.append(going)
    first = asyncio.create_task(gate.run("payments_pay", idempotency_key="k"))
    await settle()
    second = asyncio.create_task(gate.run("payments_pay", idempotency_key="k"))
    await settle()
    going.set()
    assert [is_done((await each).outcome) for each in (first, second)] == [True, True]
    assert len(paid(gate)) == 1
    assert await gate.approving.desk.listed() == []


class Behind(MemoryStore):
    """A store that once answers as it was before a twin's claim."""

    blind = 0

    async def recorded(self, agent: str, tool: str, step_key: str) -> Recorded | None:
        if self.blind:
            self.blind -= 1
            return None
        return await super().recorded(agent, tool, step_key)


async def test_a_twin_that_read_the_ledger_too_early_is_not_parked() -> None:
    clock = FakeClock()
    store = Behind(clock)
    gate = a_gate(store=store, clock=clock)
    await gate.approving.desk.approve("bob", await asked(gate))
    done = await gate.run("payments_pay")
    store.blind = 1
    again = (await gate.run("payments_pay")).outcome
    assert isinstance(again, Succeeded)
    assert again.replayed_from == done.call.id
    assert await gate.approving.desk.listed() == []


class Slow(MemoryStore):
    """One that lets others go first when it is asked what stands."""

    async def held_approval(self, binding: str, at_ms: int) -> ApprovalTrail | None:
        held = await super().held_approval(binding, at_ms)
        await asyncio.sleep(0)
        return held


async def test_two_identical_calls_at_once_ask_people_once() -> None:
    clock = FakeClock()
    gate = a_gate(store=Slow(clock), clock=clock)
    heard: list[str] = []
    gate.approving.tell(lambda approval: heard.append(approval.id))
    first, second = await asyncio.gather(asked(gate), asked(gate))
    assert first == second
    assert heard == [first]


async def test_what_was_done_before_an_approval_was_asked_for_is_not_asked_about() -> None:
    gate = a_gate(PERMIT_ALL, LEADS)
    assert is_done((await gate.run("payments_pay")).outcome)
    gate.rules.current = rules_of(*POLICIES, people=PEOPLE)
    refused = (await gate.run("payments_pay")).outcome
    assert isinstance(refused, Denied)
    assert await gate.approving.desk.listed() == []


async def test_what_a_cancelled_run_waits_for_is_not_approved_any_more() -> None:
    gate = a_gate()
    run = (await gate.run("payments_list", {}, run="job")).call.facts.run.id
    approval = await asked(gate, run="job")
    await gate.store.cancel_run(RunCancel(run, gate.clock.now_ms(), "os:op"))
    with pytest.raises(ApprovalRefused, match=f"{run} was cancelled") as refused:
        await gate.approving.desk.approve("bob", approval)
    assert refused.value.code == "approval_void"
    assert await gate.approving.desk.listed() == []
