"""Every call ends in exactly one recorded outcome, whatever happens on its way."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.connector import ConnectorFault, ToolCall
from gateway.model.back import Back
from gateway.model.call import Call
from gateway.model.errors import (
    GatewayError,
    IdentityFault,
    LedgerTampered,
    LimitFault,
    OutcomeUnknown,
    PolicyFault,
    RequestFault,
    StoreFault,
)
from gateway.model.facts import StepStatus
from gateway.model.outcome import Denied, Failed, Succeeded, Unknown, Waiting
from gateway.model.request import Caller
from gateway.pipeline.runner import Ended, Runner
from gateway.pipeline.stages.execute import Execute
from gateway.store.ports import Claimed, ClaimVerdict, EventFilter, EventKind, Intent
from tests.fixtures.clock import FakeClock
from tests.fixtures.leftovers import left_of, without_collecting
from tests.pipeline.broken import BreakingStore
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, SECRET, Gate, answer, caller, request, settle

PASSED = answer({"result": "passed"})
CLAIMED_AND_FINISHED = [EventKind.CALL_CLAIMED, EventKind.CALL_FINISHED]


def executing(gate: Gate, do: Callable[[Call], Any]) -> Runner:
    """Return a runner in which `do` stands for every server."""

    async def own(call: Call) -> Mapping[str, Any]:
        result: Mapping[str, Any] = await do(call)
        return result

    execute = Execute(
        gate.executor, gate.upstreams, {"payments.pay": own, "payments.list": own}, gate.asking, gate.reading
    )
    return gate.walking([execute if isinstance(stage, Execute) else stage for stage in gate.stages])


async def failing(gate: Gate, tool: str, error: Exception) -> Ended:
    async def fail(call: Call) -> None:
        raise error

    return await executing(gate, fail).run(request(tool, {} if tool == "payments_list" else PAYMENT))


@pytest.mark.parametrize("tool", ["payments_list", "payments_pay"])
async def test_nothing_is_left_of_a_fault_once_its_outcome_is_gone(tool: str) -> None:
    async def refuse(call: ToolCall) -> None:
        raise ConnectorFault("left behind", code="rejected")

    gate = Gate()
    gate.servers["payments"].calls.append(refuse)
    with without_collecting():
        back = Back()
        ended = await gate.runner.run(request(tool, {} if tool == "payments_list" else PAYMENT, back=back))
        assert isinstance(ended.outcome, Failed)
        del ended
        gate.noted.clear()
        await settle()
        assert (back.under_way, left_of("left behind")) == (None, [])


async def body(gate: Gate, call_id: str) -> dict[str, Any]:
    """Return what the last event of a call says."""
    said: dict[str, Any] = json.loads((await gate.events(call_id))[-1].body)
    return said


async def test_a_claimed_call_ends_in_its_result_and_is_noted() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(answer({"receipt": 1}))
    ended = await gate.run("payments_pay")
    assert ended.outcome == Succeeded(answer({"receipt": 1}))
    assert await gate.kinds(ended.call.id) == CLAIMED_AND_FINISHED
    assert gate.noted == [(ended.call.id, ended.outcome)]
    assert (len(gate.inflight), len(gate.owned)) == (0, 0)


async def test_a_read_is_recorded_whole_in_one_event() -> None:
    gate = Gate()
    ended = await gate.run("payments_list", {})
    assert await gate.kinds(ended.call.id) == [EventKind.CALL_RECORDED]
    assert (await body(gate, ended.call.id))["outcome"] == "succeeded"
    assert [noted for noted, _ in gate.noted] == [ended.call.id]


FAULTS = [
    RequestFault("r", code="too_large"),
    LimitFault("l", code="rate_limited"),
    ConnectorFault("c", code="rejected"),
    StoreFault("s"),
]
DOUBTFUL = [IdentityFault("i"), PolicyFault("p"), GatewayError("g"), LedgerTampered("t", seq=3)]


@pytest.mark.parametrize("error", [*FAULTS, *DOUBTFUL], ids=lambda error: type(error).__name__)
async def test_a_fault_while_reading_is_a_failure(error: GatewayError) -> None:
    gate = Gate()
    ended = await failing(gate, "payments_list", error)
    assert ended.outcome == Failed(error)
    said = await body(gate, ended.call.id)
    assert (said["outcome"], said["error"]["code"]) == ("failed", error.code)


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
async def test_a_fault_that_tells_the_effect_did_not_happen_is_a_failure(error: GatewayError) -> None:
    gate = Gate()
    ended = await failing(gate, "payments_pay", error)
    assert ended.outcome == Failed(error)
    assert await gate.kinds(ended.call.id) == CLAIMED_AND_FINISHED
    assert (await body(gate, ended.call.id))["outcome"] == "failed"


@pytest.mark.parametrize("error", [*DOUBTFUL, OutcomeUnknown("o")], ids=lambda error: type(error).__name__)
async def test_a_fault_that_tells_nothing_of_the_effect_leaves_it_unknown(error: GatewayError) -> None:
    gate = Gate()
    ended = await failing(gate, "payments_pay", error)
    assert ended.outcome == Unknown(error)
    assert (await body(gate, ended.call.id))["outcome"] == "unknown"


@pytest.mark.parametrize(("tool", "kind"), [("payments_pay", Unknown), ("payments_list", Failed)])
async def test_a_fault_nobody_foresaw_is_recorded_as_internal_and_told_to_nobody(
    tool: str, kind: type[Unknown | Failed], caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    ended = await failing(gate, tool, RuntimeError(f"with {SECRET} in it"))
    outcome = ended.outcome
    assert isinstance(outcome, kind)
    assert outcome.error.code == "internal"
    assert "with" not in outcome.error.message
    detail = (await body(gate, ended.call.id))["error"]["detail"]
    assert "RuntimeError" in detail
    assert SECRET not in detail
    assert ended.call.id in caplog.text


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (ConnectorFault("no", code="rejected"), Failed, "rejected"),
        (ConnectorFault("no", code="credential_expired"), Failed, "credential_expired"),
        (ConnectorFault("no", code="timeout"), Unknown, "outcome_unknown"),
        (ConnectorFault("no", code="unavailable"), Unknown, "outcome_unknown"),
        (ConnectorFault("no", code="contract_broken"), Unknown, "outcome_unknown"),
    ],
)
async def test_what_a_server_does_to_an_effect_is_sorted_by_whether_it_may_have_happened(
    fault: ConnectorFault, kind: type[Any], code: str
) -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(fault)
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, kind)
    assert ended.outcome.error.code == code
    assert len(gate.servers["payments"].asked) == 1


async def test_an_answer_that_breaks_its_contract_never_makes_an_effect_undone() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append({"nonsense": True})
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Unknown)
    assert ended.outcome.error.code == "contract_broken"
    said = await body(gate, ended.call.id)
    assert (said["outcome"], said["raw"]) == ("unknown", {"nonsense": True})
    again = await gate.run("payments_pay")
    assert isinstance(again.outcome, Unknown)
    assert len(gate.servers["payments"].asked) == 1


async def test_an_answer_that_breaks_its_contract_is_a_failed_read() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    ended = await gate.run("fraud_check")  # claimed, because a precondition looks back at it
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.error.code == "contract_broken"


async def test_an_error_of_the_tool_is_delivered_and_recorded_as_failed() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(answer(isError=True))
    ended = await gate.run("payments_pay", idempotency_key="k")
    assert ended.outcome == Succeeded(answer(isError=True))
    recorded = await gate.store.recorded("payer", "payments.pay", "key:k")
    assert recorded is None or recorded.status is StepStatus.FAILED
    again = await gate.run("payments_pay", idempotency_key="k")
    assert again.outcome == Succeeded({"content": []})
    assert len(gate.servers["payments"].asked) == 2


async def test_an_error_of_the_tool_gives_back_the_step_it_had_used() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls.append(PASSED)
    await gate.run("fraud_check")
    gate.servers["payments"].calls.append(answer(isError=True))
    await gate.run("payments_pay")
    again = await gate.run("payments_pay")
    assert again.outcome == Succeeded({"content": []})


@pytest.mark.parametrize(
    ("stranger", "code"), [(caller("nobody"), "unauthenticated"), (caller("payer", loopback=False), "unauthenticated")]
)
async def test_a_refused_stranger_is_on_record_without_what_it_asked(stranger: Caller, code: str) -> None:
    gate = Gate()
    ended = await gate.runner.run(request("payments_pay", caller=stranger))
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.error.code == code
    [event] = await gate.events(ended.call.id)
    assert (event.agent, event.tool, event.kind) == ("unknown", "payments_pay", EventKind.CALL_RECORDED)
    assert "arguments" not in json.loads(event.body)


@pytest.mark.parametrize("arguments", [{}, {"payment_id": 1}])
async def test_a_request_that_cannot_be_is_on_record_under_its_agent(arguments: Mapping[str, Any]) -> None:
    gate = Gate()
    ended = await gate.run("payments_pay", arguments)
    [event] = await gate.events(ended.call.id)
    assert (event.agent, event.tool, json.loads(event.body)["arguments"]) == ("payer", "payments.pay", arguments)


async def test_a_denied_call_is_on_record_with_what_decided_it_and_sent_to_nobody() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Denied)
    said = await body(gate, ended.call.id)
    assert (said["outcome"], said["decision"]["policies"]) == ("denied", ["pay.requires-fraud-check"])
    assert gate.servers["payments"].asked == []


async def test_a_store_that_cannot_answer_refuses_before_anything_is_sent() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    for name in ("recorded", "claim"):
        store.heal()
        store.breaks(name)
        ended = await gate.run("payments_pay", idempotency_key="k")
        assert isinstance(ended.outcome, Failed)
        assert (ended.outcome.error.code, ended.outcome.error.retryable) == ("store_unavailable", True)
    assert gate.servers["payments"].asked == []
    assert len(gate.inflight) == 0


async def test_history_that_was_tampered_with_decides_nothing() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(PERMIT_ALL, PRECONDITION, store=store)
    store.breaks("steps", LedgerTampered("The ledger was changed.", seq=4))
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.error.code == "ledger_tampered"


@pytest.mark.parametrize(
    ("error", "code"), [(StoreFault("full"), "store_unavailable"), (RuntimeError("a bug"), "internal")]
)
async def test_a_read_that_cannot_be_recorded_is_withheld(error: Exception, code: str) -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    store.breaks("record", error)
    ended = await gate.run("payments_list", {})
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.error.code == code
    (event,) = [event async for event in store.events(EventFilter(call_id=ended.call.id))]
    assert json.loads(event.body)["error"]["code"] == code  # on record since the store could be written again


async def test_a_refusal_that_cannot_be_recorded_stays_a_refusal_and_is_recorded_later() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(PERMIT_ALL, PRECONDITION, store=store)
    store.breaks("record")
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Denied)
    assert [event.call_id async for event in store.events(EventFilter(call_id=ended.call.id))] == [ended.call.id]


async def test_a_call_cut_off_by_the_end_of_the_gateway_is_unknown() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(asyncio.Event())
    task = asyncio.ensure_future(gate.run("payments_pay"))
    await settle()
    assert await gate.owned.drain(0) == 1
    ended = await task
    assert isinstance(ended.outcome, Unknown)
    assert (await body(gate, ended.call.id))["outcome"] == "unknown"


async def test_twins_of_one_payment_are_carried_out_once_and_answered_alike() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(answer({"receipt": 1}))
    ends = await asyncio.gather(*(gate.run("payments_pay") for _ in range(5)))
    assert len(gate.servers["payments"].asked) == 1
    assert {json.dumps(end.outcome.result) for end in ends if isinstance(end.outcome, Succeeded)} == {
        json.dumps(answer({"receipt": 1}))
    }
    assert sum(isinstance(end.outcome, Succeeded) and end.outcome.replayed_from is None for end in ends) == 1


async def test_two_payments_on_one_single_use_check_are_one_payment() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls.append(PASSED)
    await gate.run("fraud_check")
    ends = await asyncio.gather(*(gate.run("payments_pay", idempotency_key=key) for key in ("a", "b", "c")))
    assert len(gate.servers["payments"].asked) == 1
    assert sorted(type(end.outcome).__name__ for end in ends) == ["Denied", "Denied", "Succeeded"]


async def test_a_step_that_runs_too_long_makes_the_call_wait() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    checking = asyncio.Event()
    gate.servers["fraud"].calls.append(checking)
    check = asyncio.ensure_future(gate.run("fraud_check"))
    await settle()
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Waiting)
    assert (await body(gate, ended.call.id))["outcome"] == "waiting"
    checking.set()
    assert ended.outcome.on == (await check).call.id


class FickleStore(BreakingStore):
    """Every claim finds the facts changed."""

    claims = 0

    async def claim(self, intent: Intent) -> Claimed:
        self.claims += 1
        return Claimed(ClaimVerdict.STALE)


async def test_facts_that_never_stop_changing_end_in_a_refusal() -> None:
    store = FickleStore(FakeClock())
    gate = Gate(store=store)
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Failed)
    assert (ended.outcome.error.code, ended.outcome.error.retryable) == ("in_progress", True)
    assert store.claims == 8
    assert await gate.kinds(ended.call.id) == [EventKind.CALL_RECORDED]


async def test_a_request_refused_before_it_became_a_call_is_on_record() -> None:
    gate = Gate()
    await gate.runner.refuse(request("tools/list", {}, caller=caller("nobody")), IdentityFault("no"))
    [event] = await gate.events()
    assert (event.kind, event.agent, event.tool) == (EventKind.CALL_RECORDED, "unknown", "tools/list")


async def test_a_secret_that_somebody_asks_for_as_a_tool_is_on_no_record() -> None:
    gate = Gate()
    ended = await gate.run(f"pay_{SECRET}")
    assert isinstance(ended.outcome, Failed)
    [event] = await gate.events()
    assert SECRET not in f"{event.tool} {event.body}"
    assert event.tool == "pay_[redacted]"
