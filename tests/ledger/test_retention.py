"""Retention runs by itself, in small pieces, and everybody who looks is told what it took."""

import pytest

from gateway.ledger.config import LedgerSection, RetentionSection
from gateway.ledger.retention import Retention, bodies_removed
from gateway.ledger.trace import call_lines
from gateway.ledger.verify import Finding, examine
from gateway.model.errors import StoreFault
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter
from gateway.store.retention import Removal, Removed
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, record

DAY = 86_400_000


async def filled(store: MemoryStore, days: int = 10, each: int = 300) -> MemoryStore:
    """A store with so many reads on each of so many days."""
    for day in range(days):
        for number in range(each):
            body = {"outcome": "succeeded", "received_ms": T0 + day * DAY, "result": {"n": number}}
            await store.record(record(f"c{day}.{number}", at_ms=T0 + day * DAY, body=body))
    return store


def clock_at(day: int) -> FakeClock:
    return FakeClock(T0 + day * DAY)


async def test_what_is_older_goes_in_pieces_with_a_breath_between() -> None:
    store, clock = await filled(MemoryStore(FakeClock())), clock_at(9)
    retention = Retention(store, lambda: 5 * DAY + DAY // 2, clock)
    assert await retention.run() == 4 * 300
    assert len(clock.slept) == 3
    assert await bodies_removed(store) == 1200
    assert await examine(store) == Finding(intact=True, events=3003, removed=1200)
    assert await retention.run() == 0


async def test_a_gateway_that_starts_goes_on_where_the_last_one_was() -> None:
    store = await filled(MemoryStore(FakeClock()))
    await Retention(store, lambda: 5 * DAY + DAY // 2, clock_at(9)).run()
    asked: list[Removal] = []

    class Watched(MemoryStore):
        async def remove_bodies(self, removal: Removal) -> Removed:
            asked.append(removal)
            return await store.remove_bodies(removal)

        def events(self, wanted: EventFilter):  # type: ignore[no-untyped-def,override]  # as the store it stands for
            return store.events(wanted)

    assert await Retention(Watched(FakeClock()), lambda: 4 * DAY + DAY // 2, clock_at(9)).run() == 300
    assert asked[0].after_seq == 1200


async def test_for_ever_is_for_ever() -> None:
    store = await filled(MemoryStore(FakeClock()), days=1, each=3)
    assert await Retention(store, lambda: None, clock_at(9999)).run() == 0
    assert await bodies_removed(store) == 0


async def test_a_call_without_its_body_says_so_and_still_tells_who_and_when() -> None:
    store = await filled(MemoryStore(FakeClock()), days=1, each=2)
    await Retention(store, lambda: DAY, clock_at(9)).run()
    lines = [line async for line in call_lines(store, EventFilter())]
    assert [(line.call_id, line.agent, line.outcome, line.message) for line in lines] == [
        ("c0.0", "billing", "succeeded", "removed by retention"),
        ("c0.1", "billing", "succeeded", "removed by retention"),
    ]


class Enough(Exception):
    """The clock has slept often enough."""


class Hours(FakeClock):
    """Ends the watching after some sleeps of an hour."""

    def __init__(self, hours: int) -> None:
        super().__init__(T0 + 9 * DAY)
        self._hours = hours

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self._hours -= seconds == 3600
        if self._hours < 0:
            raise Enough


async def test_it_looks_every_hour_and_hears_of_another_setting(caplog: pytest.LogCaptureFixture) -> None:
    store = await filled(MemoryStore(FakeClock()), days=2, each=3)
    asked: list[int | None] = [None, 8 * DAY + 2 * 3_600_000 - 1, DAY]
    with pytest.raises(Enough), caplog.at_level("INFO"):
        await Retention(store, lambda: asked.pop(0), Hours(2)).watch()
    assert [entry.getMessage() for entry in caplog.records] == [
        "removed 3 bodies whose time was over",
        "removed 3 bodies whose time was over",
    ]


async def test_what_cannot_be_removed_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryStore):
        async def remove_bodies(self, removal: Removal) -> Removed:
            raise StoreFault("The ledger cannot be written.", detail="the disk is full")

    with pytest.raises(Enough):
        await Retention(Full(FakeClock()), lambda: DAY, Hours(1)).watch()
    assert [entry.getMessage() for entry in caplog.records] == [
        "bodies whose time is over could not be removed: the disk is full"
    ] * 2


def test_bodies_are_kept_for_ever_unless_configured_and_never_less_than_a_day() -> None:
    assert LedgerSection().retention.bodies_ms is None
    assert RetentionSection(bodies="180d").bodies_ms == 180 * DAY
    for wrong in ("23h", "60m", "soon", ""):
        with pytest.raises(ValueError, match=r"day|duration"):
            RetentionSection(bodies=wrong)
