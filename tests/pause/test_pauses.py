"""What an operator has stopped, and who is refused by it."""

import asyncio

import pytest

from gateway.model.errors import LimitFault, StoreFault
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.model.outcome import Failed, Succeeded
from gateway.pause.pauses import POLL_S, Pauses, ScopeUnknown, scope_of
from gateway.store.memory import MemoryStore
from gateway.store.ports import PauseRecord
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import Gate, answer, settle

PAYER = Identity("payer", "token", "tg_1", teams=("finance",))


@pytest.mark.parametrize("text", ["all", "team:finance", "agent:payer", "server:mail", "tool:payments.*", "run:run_1"])
def test_a_scope_is_everything_or_a_kind_and_a_name(text: str) -> None:
    assert scope_of(text) == text


@pytest.mark.parametrize("text", ["", "ALL", "agent", "agent:", "user:ann", "tool:a b", "all:x", "agent:\n", ":x"])
def test_anything_else_is_no_scope(text: str) -> None:
    with pytest.raises(ScopeUnknown, match="all, or one of"):
        scope_of(text)


@pytest.mark.parametrize("scope", ["all", "agent:payer", "team:finance"])
def test_a_stopped_agent_is_refused_and_told_why_and_by_whom_only_on_record(scope: str) -> None:
    pauses = Pauses(MemoryStore(FakeClock()), FakeClock())
    pauses.take([PauseRecord(scope, 1, "os:ann", "audit")], float("inf"))
    with pytest.raises(LimitFault) as refused:
        pauses.check_agent(PAYER)
    assert (refused.value.code, "audit" in refused.value.message) == ("paused", True)
    assert ("ann" in refused.value.message, "os:ann" in refused.value.detail) == (False, True)


@pytest.mark.parametrize("scope", ["agent:other", "team:sales", "server:mail", "run:run_1", "tool:*"])
def test_what_concerns_others_lets_an_agent_in(scope: str) -> None:
    pauses = Pauses(MemoryStore(FakeClock()), FakeClock())
    pauses.take([PauseRecord(scope, 1, "os:ann")], float("inf"))
    pauses.check_agent(PAYER)


async def test_a_picture_that_is_too_old_stops_everything() -> None:
    clock = FakeClock()
    pauses = Pauses(MemoryStore(clock), clock)
    with pytest.raises(StoreFault):
        pauses.check_agent(PAYER)
    await pauses.refresh()
    pauses.check_agent(PAYER)
    await clock.sleep(11)
    with pytest.raises(StoreFault):
        pauses.check_agent(PAYER)


async def test_a_pause_of_another_process_is_seen_with_the_next_read() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    pauses = Pauses(store, clock)
    watching = asyncio.ensure_future(pauses.watch())
    await settle()
    await store.put_pause(PauseRecord("all", 1, "os:ann"))
    await clock.sleep(POLL_S)
    await settle()
    assert [each.scope for each in pauses.now()] == ["all"]
    watching.cancel()


async def refusal(gate: Gate, tool: str) -> str:
    outcome = (await gate.run(tool)).outcome
    return outcome.error.code if isinstance(outcome, Failed) else "let through"


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        ("all", {"payments_pay", "fraud_check"}),
        ("agent:payer", {"payments_pay", "fraud_check"}),
        ("server:payments", {"payments_pay"}),
        ("tool:payments.pay", {"payments_pay"}),
        ("tool:fraud.*", {"fraud_check"}),
        ("tool:mail.*", set()),
        ("agent:other", set()),
    ],
)
async def test_only_what_is_stopped_is_refused_and_recorded_and_it_goes_on_afterwards(
    scope: str, stopped: set[str]
) -> None:
    gate = Gate()
    gate.servers["fraud"].calls += [answer({"result": "passed"})] * 2
    await gate.pause(scope, "drill")
    for tool in ("payments_pay", "fraud_check"):
        assert await refusal(gate, tool) == ("paused" if tool in stopped else "let through")
    assert sum("paused" in event.body for event in await gate.events() if event.call_id) == len(stopped)
    await gate.store.end_pause(PauseRecord(scope, 1, "os:op"))
    await gate.pauses.refresh()
    for tool in stopped:
        assert await refusal(gate, tool) == "let through"


async def test_a_stopped_run_takes_no_call_and_the_agents_other_runs_go_on() -> None:
    gate = Gate()
    first = await gate.run("payments_pay", run="job-1")
    assert isinstance(first.outcome, Succeeded)
    await gate.pause(f"run:{first.call.facts.run.id}")
    assert isinstance((await gate.run("payments_list", {}, run="job-1")).outcome, Failed)
    assert isinstance((await gate.run("payments_list", {}, run="job-2")).outcome, Succeeded)
    with pytest.raises(LimitFault):
        gate.pauses.check_run(RunRef(first.call.facts.run.id, "payer", "handle"))


async def test_what_is_under_way_when_it_is_stopped_goes_on_to_its_end() -> None:
    gate = Gate()
    may_end = asyncio.Event()
    gate.servers["payments"].calls.append(may_end)
    paying = asyncio.ensure_future(gate.run("payments_pay"))
    await settle()
    await gate.pause("all")
    may_end.set()
    assert isinstance((await paying).outcome, Succeeded)
