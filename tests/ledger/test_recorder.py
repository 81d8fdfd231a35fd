"""Calls on their way into the ledger."""

import json

import pytest

from gateway.ledger.recorder import Recorder
from gateway.model.errors import ConnectorFault, IdentityFault, OutcomeUnknown, RequestFault
from gateway.model.facts import StepStatus
from gateway.model.outcome import Failed, Outcome, Succeeded, Unknown, Waiting
from gateway.redaction.redactor import Redactor
from gateway.store.memory import MemoryStore
from gateway.store.ports import ClaimVerdict, Event, EventFilter, EventKind, Record
from tests.fixtures.clock import FakeClock
from tests.ledger.making import T0, asked, decided
from tests.store.making import lookup, step, use


class Desk:
    """A recorder and its ledger."""

    def __init__(self) -> None:
        self.clock = FakeClock(T0 + 100)
        self.ledger = MemoryStore(self.clock)
        self.recorder = Recorder(self.ledger, self.clock, Redactor())

    async def last(self) -> Event:
        return await anext(self.ledger.events(EventFilter(limit=1, latest=True)))


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_claim_carries_what_the_ledger_locks_by(desk: Desk) -> None:
    claimed = await desk.recorder.claim(decided(step_key="k"), ())
    assert claimed.verdict is ClaimVerdict.CLAIMED
    event = await desk.last()
    assert (event.kind, event.at_ms, event.call_id, event.run_id) == (
        EventKind.CALL_CLAIMED,
        T0 + 100,
        "call_1",
        "run_1",
    )
    assert (event.agent, event.on_behalf_of, event.tool) == ("billing", "ann", "payments.pay")
    held = await desk.ledger.recorded("billing", "payments.pay", "k")
    assert held is not None
    assert held.claim_body["claim"]["session"] == "s"
    assert held.arguments_digest == decided().arguments_digest


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Succeeded({}), StepStatus.SUCCEEDED),
        (Succeeded({"content": [], "isError": False}), StepStatus.SUCCEEDED),
        (Unknown(OutcomeUnknown("?")), StepStatus.UNKNOWN),
    ],
)
async def test_an_outcome_becomes_the_status_of_the_step(desk: Desk, outcome: Outcome, status: StepStatus) -> None:
    call = decided(step_key="k")
    await desk.recorder.claim(call, ())
    call.attempts = [{"n": 1}]
    await desk.recorder.finish(call, outcome)
    held = await desk.ledger.recorded("billing", "payments.pay", "k")
    assert held is not None
    assert held.status is status


@pytest.mark.parametrize(
    ("outcome", "free"),
    [
        (Failed(RequestFault("gone")), True),
        (Failed(ConnectorFault("no", sent=False)), True),
        (Failed(ConnectorFault("no", code="rejected")), True),
        (Waiting("call_0", "wait", 1.0), True),
        (Succeeded({"content": [], "isError": True}), True),
        (Succeeded({}), False),
        (Unknown(OutcomeUnknown("?")), False),
    ],
)
async def test_only_what_failed_for_certain_gives_back_what_it_had_taken(
    desk: Desk, outcome: Outcome, free: bool
) -> None:
    await step(desk.ledger, "check", {"payment_id": 7})
    call = decided(step_key="k")
    await desk.recorder.claim(call, [use("check", lookup())])
    await desk.recorder.finish(call, outcome)
    check = (await desk.ledger.steps([lookup()]))[0]
    assert check is not None
    assert (check.consumed_by is None) is free
    assert (await desk.ledger.recorded("billing", "payments.pay", "k") is None) is free
    await desk.ledger.verify()


async def test_a_step_whose_tool_answered_with_an_error_is_history_that_failed(desk: Desk) -> None:
    call = decided(step_key="k")
    await desk.recorder.claim(call, ())
    await desk.recorder.finish(call, Succeeded({"content": [], "isError": True}))
    ended = json.loads((await desk.last()).body)
    assert ended["ending"]["status"] == "failed"
    assert ended["result"]["isError"] is True


async def test_a_refusal_of_nobody_is_recorded_as_nobodys(desk: Desk) -> None:
    await desk.recorder.record(asked(), Failed(IdentityFault("Who?")))
    event = await desk.last()
    assert (event.kind, event.agent, event.on_behalf_of) == (EventKind.CALL_RECORDED, "unknown", "")
    assert (event.run_id, event.tool) == ("", "payments_pay")


async def test_a_call_without_a_claim_is_recorded_whole(desk: Desk) -> None:
    await desk.recorder.record(decided(), Succeeded({"content": []}))
    event = await desk.last()
    assert (event.agent, event.on_behalf_of, event.run_id, event.tool) == ("billing", "ann", "run_1", "payments.pay")
    assert await desk.ledger.count_steps("run_1") == 1


async def test_a_name_of_any_length_is_cut(desk: Desk) -> None:
    call = asked()
    long = type(call)("c", type(call.request)("x" * 100_000, {}, call.request.caller), T0)
    await desk.recorder.record(long, Failed(RequestFault("no", code="unknown_tool")))
    assert (await desk.last()).tool == "x" * 256


@pytest.mark.parametrize("durable", [False, True])
async def test_a_read_waits_for_the_disk_only_where_configured(durable: bool) -> None:
    asked_for = []

    class Listening(MemoryStore):
        async def record(self, record: Record, *, durable: bool = True) -> None:
            asked_for.append(durable)
            await super().record(record)

    clock = FakeClock()
    await Recorder(Listening(clock), clock, Redactor(), durable_reads=durable).record(decided(), Succeeded({}))
    assert asked_for == [durable]


async def test_what_a_stopped_gateway_left_is_in_doubt(desk: Desk) -> None:
    await desk.recorder.claim(decided("call_1", step_key="a"), ())
    doubtful = await desk.recorder.recover()
    assert [recorded.call_id for recorded in doubtful] == ["call_1"]
    held = await desk.ledger.recorded("billing", "payments.pay", "a")
    assert held is not None
    assert held.status is StepStatus.UNKNOWN
    assert held.end_body is not None
    assert held.end_body["error"]["code"] == "outcome_unknown"
    assert [recorded.call_id for recorded in await desk.ledger.in_doubt()] == ["call_1"]
    assert await desk.ledger.unfinished() == []
    assert await desk.recorder.recover() == []


async def test_a_read_that_a_stopped_gateway_left_has_failed_and_holds_nothing(desk: Desk) -> None:
    await desk.recorder.claim(decided("call_1", step_key="a"), ())
    assert await desk.recorder.recover(is_read=lambda tool: tool == "payments.pay") == []
    made = await desk.ledger.made("call_1")
    assert made is not None
    assert made.end_body is not None
    assert (made.status, made.end_body["error"]["code"]) == (StepStatus.FAILED, "unavailable")
    assert await desk.ledger.recorded("billing", "payments.pay", "a") is None
