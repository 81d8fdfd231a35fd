"""Stage 7: the point of no return."""

import asyncio
import json

import pytest

from gateway.model.call import Call
from gateway.model.errors import LimitFault, RequestFault, StoreFault, UnwritableError
from gateway.model.facts import StepStatus
from gateway.model.outcome import Failed, Succeeded, Unknown
from gateway.pipeline.stages import DecideAgain
from gateway.pipeline.stages.claim import Claim
from gateway.store.ports import Ending, EventFilter, EventKind
from tests.fixtures.clock import FakeClock
from tests.pipeline.broken import BreakingStore
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, request, rules_of, settle

PASSED = answer({"result": "passed"})
LIST_ONCE = """
@id("list-once") @prior("fraud: fraud.check in run use once")
forbid (principal, action == Gateway::Action::"payments.list", resource)
unless { context.prior has fraud && context.prior.fraud.status == "ok" && !context.prior.fraud.consumed };
"""


async def test_an_effect_is_claimed_before_anything_is_sent() -> None:
    gate = Gate()
    call, outcome = await gate.after(Claim, request("payments_pay"))
    assert (outcome, call.intent, len(gate.inflight)) == (None, True, 1)
    assert await gate.kinds(call.id) == [EventKind.CALL_CLAIMED]
    assert gate.servers["payments"].asked == []


async def test_a_read_that_no_policy_looks_back_at_is_not_claimed() -> None:
    gate = Gate()
    call, outcome = await gate.after(Claim, request("payments_list", {}))
    assert (outcome, call.intent, await gate.kinds(call.id)) == (None, False, [])


async def test_a_read_that_a_precondition_looks_back_at_is_claimed() -> None:
    call, outcome = await Gate(PERMIT_ALL, PRECONDITION).after(Claim, request("fraud_check"))
    assert (outcome, call.intent) == (None, True)


async def test_a_read_that_its_caller_named_is_claimed() -> None:
    call, outcome = await Gate().after(Claim, request("payments_list", {}, idempotency_key="k"))
    assert (outcome, call.intent) == (None, True)


async def test_a_read_that_uses_a_step_up_is_claimed() -> None:
    gate = Gate(PERMIT_ALL, LIST_ONCE)
    gate.servers["fraud"].calls.append(PASSED)
    await gate.run("fraud_check")
    call, outcome = await gate.after(Claim, request("payments_list", {}))
    assert (outcome, call.intent) == (None, True)


async def test_a_step_made_before_is_answered_from_the_record() -> None:
    gate = Gate()
    paid = await gate.run("payments_pay")
    call, outcome = await gate.after(Claim, request("payments_pay"))
    assert isinstance(outcome, Succeeded)
    assert (outcome.replayed_from, outcome.result) == (paid.call.id, answer() | {"content": []})
    assert (call.intent, len(gate.inflight)) == (False, 0)


async def test_an_answer_from_the_record_is_delivered_under_the_policies_of_today() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(answer({"iban": "DE00 1234", "amount": 3}))
    await gate.run("payments_pay")
    gate.rules.current = rules_of(PERMIT_ALL.replace('@id("all")', '@id("all") @redact("iban")'))
    _, outcome = await gate.after(Claim, request("payments_pay"))
    assert isinstance(outcome, Succeeded)
    assert "DE00" not in str(outcome.result)
    assert outcome.result["structuredContent"]["amount"] == 3


async def test_an_answer_too_large_to_keep_is_said_to_be() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(answer({"big": "x" * 300_000}))
    paid = await gate.run("payments_pay")
    _, outcome = await gate.after(Claim, request("payments_pay"))
    assert isinstance(outcome, Succeeded)
    assert f"#{paid.call.id}" in outcome.result["content"][0]["text"]
    assert "not kept" in outcome.result["content"][0]["text"]


async def test_a_step_whose_outcome_is_unknown_is_never_made_again() -> None:
    gate = Gate()
    first, _ = await gate.after(Claim, request("payments_pay"))
    await gate.store.finish(Ending(first.id, gate.clock.now_ms(), StepStatus.UNKNOWN, {"outcome": "unknown"}))
    call, outcome = await gate.after(Claim, request("payments_pay"))
    assert isinstance(outcome, Unknown)
    assert f"#{first.id}" in outcome.error.message
    assert call.intent is False


async def test_the_same_key_with_other_arguments_is_a_conflict() -> None:
    gate = Gate()
    first = await gate.run("payments_pay", idempotency_key="k")
    with pytest.raises(RequestFault) as refused:
        await gate.after(Claim, request("payments_pay", {**PAYMENT, "amount": 1}, idempotency_key="k"))
    assert (refused.value.code, refused.value.detail) == ("idempotency_conflict", first.call.id)


async def test_a_conflict_names_the_arguments_that_name_the_one_effect() -> None:
    gate = Gate()
    first = await gate.run("payments_settle", PAYMENT)
    with pytest.raises(RequestFault, match=rf"the same payment_id .*\(#{first.call.id}\).*say another payment_id"):
        await gate.after(Claim, request("payments_settle", {**PAYMENT, "amount": 1}))


async def test_a_twin_that_this_process_runs_is_waited_for() -> None:
    gate = Gate()
    first, _ = await gate.after(Claim, request("payments_pay"))
    twin = await gate.before(Claim, request("payments_pay"))
    waiting = asyncio.ensure_future(gate.stage(Claim)(twin))
    await settle()
    assert not waiting.done()
    gate.inflight.end(first.id)
    with pytest.raises(DecideAgain):
        await waiting


async def test_a_twin_that_another_process_runs_is_said_to_be_running() -> None:
    one = Gate()
    other = Gate(store=one.store, clock=one.clock, ids=one.ids)
    first, _ = await one.after(Claim, request("payments_pay"))
    with pytest.raises(LimitFault, match=f"#{first.id}") as refused:
        await other.after(Claim, request("payments_pay"))
    assert (refused.value.code, refused.value.retryable) == ("in_progress", True)


async def _checked_and_decided(gate: Gate) -> tuple[Call, Call]:
    """Return two payments that were both allowed on the one check there is."""
    gate.servers["fraud"].calls.append(PASSED)
    await gate.run("fraud_check")
    one = await gate.before(Claim, request("payments_pay", idempotency_key="one"))
    two = await gate.before(Claim, request("payments_pay", idempotency_key="two"))
    return one, two


async def test_a_single_use_step_carries_one_call_and_the_other_is_decided_again() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    one, two = await _checked_and_decided(gate)
    assert await gate.stage(Claim)(one) is None
    with pytest.raises(DecideAgain):
        await gate.stage(Claim)(two)
    assert len(gate.inflight) == 1


async def test_a_step_that_is_no_longer_the_latest_is_decided_on_again() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    one, _ = await _checked_and_decided(gate)
    gate.servers["fraud"].calls.append(answer({"result": "failed"}))
    await gate.run("fraud_check")
    with pytest.raises(DecideAgain):
        await gate.stage(Claim)(one)
    assert len(gate.inflight) == 0


async def test_a_claim_that_cannot_be_written_leaves_nothing_in_flight() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    call = await gate.before(Claim, request("payments_pay"))
    store.breaks("claim")
    with pytest.raises(StoreFault):
        await gate.stage(Claim)(call)
    assert (len(gate.inflight), call.has("intent")) == (0, False)


async def test_a_claim_that_was_written_although_the_disk_said_no_is_ended_and_its_repeat_is_made() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    store.breaks("claim", written=True)
    refused = (await gate.run("payments_settle")).outcome
    assert isinstance(refused, Failed)
    assert refused.error.code == "store_unavailable"
    assert await gate.owned.drain(60.0) == 0
    store.heal()
    [claimed, ended] = [event for event in await gate.events() if event.tool]
    assert (claimed.kind, ended.kind) == (EventKind.CALL_CLAIMED, EventKind.CALL_FINISHED)
    assert json.loads(ended.body)["error"]["code"] == "store_unavailable"
    assert await gate.store.unfinished() == []
    assert gate.servers["payments"].asked == []
    assert isinstance((await gate.run("payments_settle")).outcome, Succeeded)
    assert len(gate.servers["payments"].asked) == 1
    assert await gate.store.verify() > 0


async def test_a_claim_that_has_no_place_in_the_ledger_is_not_looked_for() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    store.breaks("claim", UnwritableError("no"))
    store.breaks("made")
    assert isinstance((await gate.run("payments_settle")).outcome, Failed)
    assert (len(gate.inflight), len(gate.owned)) == (0, 0)


@pytest.mark.parametrize("written", [True, False])
async def test_whether_a_claim_was_written_is_looked_up_once_the_store_can_be_read(written: bool) -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    store.breaks("claim", written=written)
    store.breaks("made")
    assert isinstance((await gate.run("payments_settle")).outcome, Failed)
    await settle()
    assert (len(gate.inflight), len(gate.owned)) == (0, 1)
    store.heal()
    assert await gate.owned.drain(60.0) == 0
    kinds = [event.kind for event in await gate.events() if event.tool]
    assert kinds == ([EventKind.CALL_CLAIMED, EventKind.CALL_FINISHED] if written else [EventKind.CALL_RECORDED])
    assert isinstance((await gate.run("payments_settle")).outcome, Succeeded)


async def test_while_nothing_can_be_read_only_so_many_claims_are_looked_up_later() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    store.breaks("claim")
    store.breaks("made")
    for number in range(1002):
        await gate.run("payments_pay", {**PAYMENT, "payment_id": f"p_{number}"})
    assert len(gate.owned) == 1000
    store.heal()
    assert await gate.owned.drain(60.0) == 0
    told = [event.call_id async for event in gate.store.events(EventFilter(limit=5000)) if event.tool]
    assert (len(told), len(set(told))) == (1002, 1002)


async def test_a_step_the_policies_asked_about_in_vain_is_not_used() -> None:
    optional = LIST_ONCE.replace("unless {", "when {").replace(" && !context.prior.fraud.consumed", "")
    gate = Gate(PERMIT_ALL, optional)
    call, outcome = await gate.after(Claim, request("payments_list", {}, idempotency_key="k"))
    assert (outcome, call.intent, call.decision.consumes) == (None, True, ())
