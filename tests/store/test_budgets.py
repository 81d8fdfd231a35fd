"""Counters of budgets: reserved by the claim, settled by the ending, never too high, and found when changed."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.model.bill import Charge
from gateway.model.errors import LedgerTampered
from gateway.model.facts import StepStatus
from gateway.store.budgets import KEPT, BudgetCounter, Settled
from gateway.store.memory import MemoryStore
from gateway.store.ports import Claimed, ClaimVerdict, EventKind, Store
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import ending, intent, record

KEY = "org|usd|day"


def charge(amount: int = 2, *, most: int = 5, key: str = KEY, start: int = 100, since: int | None = None) -> Charge:
    return Charge(key, "usd", start, start if since is None else since, most, amount, amount)


async def claim(store: Store, call_id: str, *charges: Charge, **more: Any) -> Claimed:
    return await store.claim(intent(call_id, charges=charges or (charge(),), **more))


async def finish(store: Store, call_id: str, status: StepStatus, *settled: Settled) -> None:
    await store.finish(ending(call_id, status, release=status is StepStatus.FAILED, charges=settled))


async def test_a_claim_reserves_and_its_ending_spends(store: Store) -> None:
    await claim(store, "c1")
    assert await store.budget_counters() == [BudgetCounter(KEY, 100, 0, 2)]
    await finish(store, "c1", StepStatus.SUCCEEDED, Settled(KEY, 100, 2, 2))
    assert await store.budget_counters() == [BudgetCounter(KEY, 100, 2, 0)]
    assert await store.verify() == 2


async def test_what_certainly_did_nothing_is_given_back_and_what_is_in_doubt_is_kept(store: Store) -> None:
    await claim(store, "c1")
    await finish(store, "c1", StepStatus.FAILED, Settled(KEY, 100, 2, 0))
    assert await store.budget_counters([KEY]) == [BudgetCounter(KEY, 100, 0, 0)]
    await claim(store, "c2")
    await finish(store, "c2", StepStatus.UNKNOWN)
    assert await store.budget_counters([KEY, "other"]) == [BudgetCounter(KEY, 100, 0, 2)]
    await store.settle(ending("c2", charges=(Settled(KEY, 100, 2, 2),)))
    assert await store.budget_counters([KEY]) == [BudgetCounter(KEY, 100, 2, 0)]
    assert await store.verify() == 5


async def test_what_models_have_used_up_counts_whatever_is_left(store: Store) -> None:
    await store.report_usage(record("", kind=EventKind.USAGE_REPORTED), [charge(4), charge(7, key="team:a|usd|day")])
    assert (await claim(store, "c1")).verdict is ClaimVerdict.SHORT
    await store.report_usage(record("", kind=EventKind.USAGE_REPORTED), [charge(3)])
    assert await store.budget_counters() == [BudgetCounter(KEY, 100, 7, 0), BudgetCounter("team:a|usd|day", 100, 7, 0)]
    assert await store.verify() == 2


async def test_of_many_claims_at_once_as_many_stand_as_there_is_room_for(store: Store) -> None:
    claims = await asyncio.gather(*(claim(store, f"c{n}") for n in range(50)))
    assert [each.verdict for each in claims].count(ClaimVerdict.CLAIMED) == 2
    short = [each for each in claims if each.verdict is ClaimVerdict.SHORT]
    assert len(short) == 48
    assert short[-1].short[0].charge == charge()
    assert sum(counter.used for counter in short[-1].short[0].counters) == 4
    assert [counter.used for counter in await store.budget_counters()] == [4]
    assert await store.verify() == 2


async def test_one_budget_that_is_short_refuses_all_of_the_claim(store: Store) -> None:
    narrow = charge(2, most=1, key="run:r|usd|")
    claimed = await claim(store, "c1", charge(), narrow, step_key="k")
    assert (claimed.verdict, [short.charge.key for short in claimed.short]) == (ClaimVerdict.SHORT, ["run:r|usd|"])
    assert await store.budget_counters() == []
    assert await store.recorded("billing", "payments.pay", "k") is None
    assert await store.verify() == 0


async def test_a_repeat_is_answered_from_the_record_though_nothing_is_left(store: Store) -> None:
    await claim(store, "c1", charge(5), step_key="k")
    assert (await claim(store, "c2", charge(5), step_key="k")).verdict is ClaimVerdict.RECORDED
    assert [counter.used for counter in await store.budget_counters()] == [5]


async def test_parts_of_time_that_no_longer_count_leave_room(store: Store) -> None:
    for number in range(3):
        claimed = await claim(store, f"c{number}", charge(2, most=5, start=100 + number, since=99))
    assert claimed.verdict is ClaimVerdict.SHORT
    assert (await claim(store, "c9", charge(2, most=5, start=103, since=101))).verdict is ClaimVerdict.CLAIMED


async def test_a_clock_that_went_back_makes_no_room(store: Store) -> None:
    await claim(store, "c1", charge(4, start=200))
    assert (await claim(store, "c2", charge(4, start=100))).verdict is ClaimVerdict.SHORT


async def test_only_the_newest_parts_of_time_are_kept_and_a_late_ending_of_another_changes_nothing(
    store: Store,
) -> None:
    for number in range(KEPT + 3):
        start = 1000 + number
        assert (await claim(store, f"c{number}", charge(1, start=start))).verdict is ClaimVerdict.CLAIMED
    kept = await store.budget_counters()
    assert [counter.start_ms for counter in kept] == list(range(1003, 1003 + KEPT))
    await finish(store, "c0", StepStatus.SUCCEEDED, Settled(KEY, 1000, 1, 1))
    assert await store.budget_counters() == kept
    assert await store.verify() == KEPT + 4


TAMPERINGS = {
    "less spent": "UPDATE budget_counters SET spent = 0",
    "less reserved": "UPDATE budget_counters SET reserved = 0",
    "another time": "UPDATE budget_counters SET start_ms = 99",
    "gone": "DELETE FROM budget_counters",
    "another budget": "INSERT INTO budget_counters VALUES ('org|usd|week', 100, 1, 0)",
    "a claim that says less": "UPDATE events SET body = replace(body, '100,2]', '100,1]') WHERE kind = 'call.claimed'",
}


@pytest.mark.parametrize("what", sorted(TAMPERINGS))
async def test_whatever_is_changed_of_a_budget_is_found(ledger_path: Path, sqlite: SqliteStore, what: str) -> None:
    await claim(sqlite, "c1")
    await finish(sqlite, "c1", StepStatus.SUCCEEDED, Settled(KEY, 100, 2, 2))
    await claim(sqlite, "c2")
    with closing(sqlite3.connect(ledger_path)) as db, db:
        assert db.execute(TAMPERINGS[what]).rowcount > 0
    with pytest.raises(LedgerTampered) as broken:
        await sqlite.verify()
    assert what == "a claim that says less" or "budget org|usd|" in broken.value.detail


async def test_a_counter_changed_in_memory_is_found() -> None:
    memory = MemoryStore(FakeClock())
    await claim(memory, "c1")
    memory._counters.settle(Settled(KEY, 100, 2, 0))
    with pytest.raises(LedgerTampered, match=r"."):
        await memory.verify()


async def test_the_counters_outlive_the_process(ledger_path: Path) -> None:
    for number in range(3):
        store = SqliteStore(ledger_path, FakeClock())
        await store.open()
        verdict = (await claim(store, f"c{number}")).verdict
        await store.close()
    assert verdict is ClaimVerdict.SHORT
