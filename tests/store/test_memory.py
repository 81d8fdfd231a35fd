"""Memory is audited like any other store."""

import pytest

from gateway.model.errors import LedgerTampered
from gateway.model.facts import RunRef, StepStatus
from gateway.store.memory import MemoryStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, ending, intent, lookup, step, use


@pytest.fixture
async def memory() -> MemoryStore:
    """1 a run, 2–3 a check, 4–5 a check that another call relies on, 6–7 that call, given back."""
    store = MemoryStore(FakeClock())
    await store.open_run(RunRef("run_1", "billing", "open"), "k", T0)
    await step(store, "check1", {"v": 1})
    await step(store, "check2", {"v": 2})
    relied = use("check2", lookup(values=[("v", 2)]), consume=False)
    await store.claim(intent("pay", uses=(relied,)))
    await store.finish(ending("pay", StepStatus.FAILED, release=True))
    assert await store.verify() == 7
    return store


async def test_a_vanished_call_is_named(memory: MemoryStore) -> None:
    del memory._calls["check2"]
    with pytest.raises(LedgerTampered) as broken:
        await memory.verify()
    assert broken.value.seq == 4


async def test_a_vanished_run_is_named(memory: MemoryStore) -> None:
    memory._runs.held.clear()
    with pytest.raises(LedgerTampered) as broken:
        await memory.verify()
    assert broken.value.seq == 1


async def test_a_call_without_events_is_named(memory: MemoryStore) -> None:
    other = MemoryStore(FakeClock())
    await other.claim(intent("ghost"))
    memory._calls["ghost"] = other._calls["ghost"]
    with pytest.raises(LedgerTampered) as broken:
        await memory.verify()
    assert "ghost" in broken.value.detail


async def test_an_event_that_moved_is_named(memory: MemoryStore) -> None:
    memory._events[2], memory._events[3] = memory._events[3], memory._events[2]
    with pytest.raises(LedgerTampered) as broken:
        await memory.verify()
    assert broken.value.seq == 3
