"""What follows runs and principals, over a real store: until when, and how soon another process's word counts."""

import asyncio

import pytest

from gateway.model.errors import StoreFault
from gateway.store.memory import MemoryStore
from gateway.store.taints import Clearing, Taint
from gateway.taint.taints import Taints
from tests.fixtures.clock import FakeClock
from tests.store.making import record

HOUR = 3_600_000
DAY = 24 * HOUR
HERE = ("run_1", "billing", "")
ELSEWHERE = ("run_2", "billing", "")


class Counting(MemoryStore):
    """A store that counts how often it is asked, and can be made to wait or fail."""

    asked = 0
    go: asyncio.Event | None = None
    broken = False

    async def taint(self, run_id: str, agent: str, on_behalf_of: str) -> Taint:
        self.asked += 1
        found = await super().taint(run_id, agent, on_behalf_of)
        if self.broken:
            raise StoreFault("no")
        if self.go is not None:
            await self.go.wait()
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Counting:
    return Counting(clock)


@pytest.fixture
def taints(store: Counting, clock: FakeClock) -> Taints:
    return Taints(store, clock)


async def mark(store: Counting, taints: Taints, clock: FakeClock, *labels: str, run_id: str = "run_1") -> None:
    await store.record(record(f"call_{clock.now_ms()}", run_id=run_id, at_ms=clock.now_ms(), taint=labels))
    taints.changed((run_id, "billing", ""))


async def test_a_run_keeps_what_it_read_and_its_principal_for_the_window(
    store: Counting, taints: Taints, clock: FakeClock
) -> None:
    await mark(store, taints, clock, "untrusted", "from:web")
    labels = ("from:web", "untrusted")
    assert await taints.seen(HERE, DAY) == await taints.seen(ELSEWHERE, DAY) == labels
    assert await taints.seen(("run_3", "other", ""), DAY) == ()
    assert await taints.seen(("run_3", "billing", "eve"), DAY) == ()
    clock.passed += 24 * 3600
    assert await taints.seen(ELSEWHERE, DAY) == labels
    clock.passed += 2 * 3600
    assert await taints.seen(ELSEWHERE, DAY) == ()
    assert await taints.seen(HERE, DAY) == labels


async def test_the_store_is_asked_once_a_second_and_whenever_something_was_marked(
    store: Counting, taints: Taints, clock: FakeClock
) -> None:
    for _ in range(3):
        await taints.seen(HERE, DAY)
    assert store.asked == 1
    clock.passed += 1.01
    await taints.seen(HERE, DAY)
    assert store.asked == 2
    await mark(store, taints, clock, "untrusted")
    assert await taints.seen(HERE, DAY) == ("untrusted",)
    assert store.asked == 3


async def test_the_word_of_another_process_counts_within_a_second(
    store: Counting, taints: Taints, clock: FakeClock
) -> None:
    await mark(store, taints, clock, "untrusted")
    await taints.seen(HERE, DAY)
    await store.clear_taint(Clearing(*HERE, clock.now_ms(), "os:ann"))
    clock.passed += 1.01
    assert await taints.seen(HERE, DAY) == ()


async def test_what_is_marked_while_the_store_is_read_is_not_overlooked_by_the_next_call(
    store: Counting, taints: Taints, clock: FakeClock
) -> None:
    store.go = asyncio.Event()
    reading = asyncio.create_task(taints.seen(HERE, DAY))
    while not store.asked:
        await asyncio.sleep(0)
    await mark(store, taints, clock, "untrusted")
    store.go.set()
    assert await reading == ()  # that call was made before anything was delivered
    assert await taints.seen(HERE, DAY) == ("untrusted",)


async def test_labels_are_news_until_they_are_marked_and_again_after_a_sixteenth_of_the_window(
    store: Counting, taints: Taints, clock: FakeClock
) -> None:
    assert taints.are_news(HERE, ("untrusted",), DAY)  # nothing is known yet: better once too often
    await taints.seen(HERE, DAY)
    assert taints.are_news(HERE, ("untrusted",), DAY)
    await mark(store, taints, clock, "untrusted")
    await taints.seen(HERE, DAY)
    assert not taints.are_news(HERE, ("untrusted",), DAY)
    assert taints.are_news(HERE, ("untrusted", "private"), DAY)
    await taints.seen(ELSEWHERE, DAY)
    assert taints.are_news(ELSEWHERE, ("untrusted",), DAY)  # that run has not read it yet
    clock.passed += 1.5 * 3600
    await taints.seen(HERE, DAY)
    assert taints.are_news(HERE, ("untrusted",), DAY)


async def test_a_store_that_cannot_answer_is_no_clean_record(store: Counting, taints: Taints) -> None:
    store.broken = True
    with pytest.raises(StoreFault):
        await taints.seen(HERE, DAY)


async def test_memory_is_bounded_and_what_it_lost_is_read_again(store: Counting, clock: FakeClock) -> None:
    taints = Taints(store, clock, remembered=4)
    await mark(store, taints, clock, "untrusted")
    for number in range(10):
        await taints.seen((f"run_{number + 10}", f"agent_{number}", ""), DAY)
    assert await taints.seen(HERE, DAY) == ("untrusted",)
