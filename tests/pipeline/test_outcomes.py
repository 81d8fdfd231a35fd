"""An outcome is written whatever the store does, as long as it can be; until then nobody is told that it is."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.model.errors import UnwritableError
from gateway.model.outcome import Failed, Succeeded, Unknown
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
