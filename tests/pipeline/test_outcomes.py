"""An outcome is written whatever the store does, as long as it can be; until then nobody is told that it is."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.connector import ConnectorFault
from gateway.ledger.settle import settle
from gateway.model.errors import UnwritableError
from gateway.model.facts import StepStatus
from gateway.model.outcome import Failed, Succeeded, Unknown
from gateway.pipeline.runner import Ended
from gateway.transport.kernel import Answer
from tests.fixtures.clock import FakeClock
from tests.pipeline.broken import BreakingStore
from tests.pipeline.gate import Gate


async def until(holds: Callable[[], bool]) -> None:
    """Let everything else go on until something holds."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def test_an_outcome_is_recorded_in_the_end_however_long_the_store_fails() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    store.breaks("finish")
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Unknown)
    assert ended.outcome.error.code == "outcome_unknown"
    meanwhile = await gate.run("payments_pay")
    assert isinstance(meanwhile.outcome, Failed)
    assert meanwhile.outcome.error.code == "in_progress"
    store.heal()
    await until(lambda: len(gate.owned) == 0)
    repeated = await gate.run("payments_pay")
    assert isinstance(repeated.outcome, Succeeded)
    assert repeated.outcome.replayed_from == ended.call.id
    assert len(gate.servers["payments"].asked) == 1


@pytest.mark.parametrize("error", [UnwritableError("never", detail="too large"), RuntimeError("a bug")])
async def test_an_outcome_that_can_never_be_recorded_is_unknown_to_its_caller_too(error: Exception) -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    store.breaks("finish", error)
    ended = await gate.run("payments_pay")
    assert isinstance(ended.outcome, Unknown)
    assert f"#{ended.call.id}" in ended.outcome.error.message
    assert len(gate.inflight) == 0
    await until(lambda: len(gate.owned) == 0)  # nor is it tried again
    store.heal()
    [doubtful] = await gate.store.unfinished()
    assert doubtful.call_id == ended.call.id
    repeated = await gate.run("payments_pay")
    assert isinstance(repeated.outcome, Failed)
    assert (repeated.outcome.error.code, f"#{ended.call.id}" in repeated.outcome.error.message) == ("in_progress", True)
    await gate.recorder.recover()
    again = await gate.run("payments_pay")
    assert isinstance(again.outcome, Unknown)
    assert len(gate.servers["payments"].asked) == 1


async def sent(gate: Gate) -> Ended:
    """Send a mail, which has no key, and have what came of it arrive as the front does."""
    ended = await gate.run("mail_send", {"to": "a"})
    if claimed := Answer({}, ended).claimed_call():
        await gate.store.deliver(claimed)
    return ended


async def test_who_was_told_that_nobody_knows_gets_the_answer_that_was_written_in_the_end() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    store.breaks("finish")
    told = await sent(gate)
    store.heal()
    await until(lambda: len(gate.owned) == 0)
    repeated = await sent(gate)
    assert isinstance(repeated.outcome, Succeeded)
    assert repeated.outcome.replayed_from == told.call.id
    assert (await sent(gate)).call.intent  # that one arrived: the next one is new
    assert len(gate.servers["mail"].asked) == 2


async def test_who_was_told_that_nobody_knows_gets_what_a_person_found_out() -> None:
    gate = Gate()
    gate.servers["mail"].calls += [ConnectorFault("no answer", code="timeout")] * 9
    told = await sent(gate)
    assert isinstance(told.outcome, Unknown)
    gate.servers["mail"].calls.clear()
    said = {"by": "bob@acme.example", "note": "seen"}
    await settle(gate.store, told.call.id, StepStatus.SUCCEEDED, said, gate.clock.now_ms())
    repeated = await sent(gate)
    assert isinstance(repeated.outcome, Succeeded)
    assert repeated.outcome.replayed_from == told.call.id
    assert len(gate.servers["mail"].asked) == 1
