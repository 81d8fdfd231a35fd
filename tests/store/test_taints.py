"""What follows runs and principals, on every store: marked with the call that carried it, let go by a person."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.model.errors import LedgerTampered, StoreFault
from gateway.model.facts import StepStatus
from gateway.store.ports import Event, EventFilter, EventKind, Store
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.taints import find_taint
from gateway.store.taints import Clearing, Taint
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, ending, intent, record

HERE = ("run_1", "billing", "")
WEB = ("untrusted", "from:web")
CLEARED = Clearing(*HERE, T0 + 9, "os:ann", "read it myself")


async def kinds(store: Store) -> list[EventKind]:
    return [event.kind async for event in store.events(EventFilter())]


async def last(store: Store) -> Event:
    [event] = [event async for event in store.events(EventFilter(limit=1, latest=True))]
    return event


async def test_nothing_follows_who_has_read_nothing(store: Store) -> None:
    assert await store.taint(*HERE) == Taint()


async def test_labels_of_a_read_follow_its_run_and_its_principal_from_the_event_behind_it(store: Store) -> None:
    await store.record(record("call_1", taint=WEB, on_behalf_of="eve"))
    followed = dict.fromkeys(WEB, T0)
    assert await store.taint("run_1", "billing", "eve") == Taint(followed, followed)
    assert await store.taint("run_2", "billing", "eve") == Taint({}, followed)
    assert await store.taint("run_1", "other", "") == Taint(followed, {})
    assert await store.taint("run_2", "billing", "") == Taint()
    assert await kinds(store) == [EventKind.CALL_RECORDED, EventKind.TAINT_MARKED]
    marked = await last(store)
    assert (marked.call_id, marked.run_id, marked.agent, marked.tool) == ("", "run_1", "billing", "payments.list")
    assert (json.loads(marked.body)["labels"], json.loads(marked.body)["call"]) == (list(WEB), "call_1")
    assert await store.count_steps("run_1") == 1
    assert await store.verify() == 2


async def test_a_read_that_need_not_be_durable_is_where_it_carries_labels(store: Store) -> None:
    await store.record(record("call_1", taint=WEB), durable=False)
    assert (await store.taint(*HERE)).run == dict.fromkeys(WEB, T0)


async def test_labels_of_a_claimed_call_are_marked_with_its_end(store: Store) -> None:
    await store.claim(intent("call_1", tool="web.fetch"))
    assert await store.taint(*HERE) == Taint()
    await store.finish(ending("call_1", taint=WEB))
    assert (await store.taint("run_9", "billing", "")).principal == dict.fromkeys(WEB, T0 + 1000)
    assert (await kinds(store))[1:] == [EventKind.CALL_FINISHED, EventKind.TAINT_MARKED]
    assert await store.verify() == 3


async def test_a_call_that_cannot_end_marks_nothing(store: Store) -> None:
    with pytest.raises(StoreFault):
        await store.finish(ending("call_1", taint=WEB))
    assert await kinds(store) == []
    await store.claim(intent("call_1"))
    await store.finish(ending("call_1"))
    with pytest.raises(StoreFault):
        await store.finish(ending("call_1", StepStatus.FAILED, taint=WEB))
    assert await store.taint(*HERE) == Taint()


async def test_labels_add_up_and_are_marked_anew(store: Store) -> None:
    await store.record(record("call_1", taint=WEB))
    await store.record(record("call_2", taint=("untrusted", "private"), at_ms=T0 + 5))
    found = await store.taint(*HERE)
    assert found.run == {"untrusted": T0 + 5, "from:web": T0, "private": T0 + 5}
    assert found.principal == found.run


async def test_runs_keep_what_they_read_themselves(store: Store) -> None:
    await store.record(record("call_1", taint=("untrusted",)))
    await store.record(record("call_2", taint=("private",), run_id="run_2", at_ms=T0 + 5))
    assert await store.taint("run_2", "billing", "") == Taint({"private": T0 + 5}, {"untrusted": T0, "private": T0 + 5})
    assert (await store.taint(*HERE)).run == {"untrusted": T0}


async def test_of_very_many_labels_those_that_name_sources_make_room_the_oldest_first(store: Store) -> None:
    await store.record(record("call_0", taint=("untrusted",)))
    for number in range(1, 80):
        await store.record(record(f"call_{number}", taint=(f"from:s{number}",), at_ms=T0 + number))
    found = await store.taint(*HERE)
    assert len(found.run) == len(found.principal) == 64
    assert {"untrusted", "from:s79", "from:s17"} <= found.run.keys()
    assert "from:s16" not in found.run


async def test_a_person_lets_go_of_what_follows_a_run_and_its_principal_on_record(store: Store) -> None:
    await store.record(record("call_1", taint=("untrusted",)))
    await store.record(record("call_2", taint=("private",), run_id="run_2"))
    assert await store.clear_taint(CLEARED)
    assert await store.taint(*HERE) == Taint()
    assert await store.taint("run_2", "billing", "") == Taint({"private": T0}, {})  # what that run read stays with it
    cleared = await last(store)
    assert (cleared.kind, cleared.run_id, cleared.agent) == (EventKind.TAINT_CLEARED, "run_1", "billing")
    told = json.loads(cleared.body)
    assert (told["by"], told["why"], told["labels"]) == ("os:ann", "read it myself", ["private", "untrusted"])
    assert not await store.clear_taint(CLEARED)
    await store.record(record("call_3", taint=("untrusted",), at_ms=T0 + 20))
    assert (await store.taint(*HERE)).run == {"untrusted": T0 + 20}
    assert await store.verify() == 7


async def test_a_word_that_cannot_be_written_is_refused(store: Store) -> None:
    await store.record(record("call_1", taint=WEB))
    with pytest.raises(StoreFault):
        await store.clear_taint(Clearing(*HERE, T0, "os:ann", "\ud800"))
    assert (await store.taint(*HERE)).run


async def test_taint_outlives_the_process(ledger_path: Path) -> None:
    for _ in range(2):
        store = SqliteStore(ledger_path, FakeClock())
        await store.open()
        if await store.taint(*HERE) == Taint():
            await store.record(record("call_1", taint=WEB))
        else:
            assert (await store.taint(*HERE)).run == dict.fromkeys(WEB, T0)
        await store.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET body = replace(body, 'untrusted', 'harmless') WHERE kind = 'taint.marked'",
        "UPDATE events SET run_id = 'run_1', agent = 'x' WHERE seq = 2",
        "DELETE FROM events WHERE seq = 3",
    ],
)
async def test_taint_that_somebody_changed_is_found_when_it_is_read(
    sqlite: SqliteStore, ledger_path: Path, change: str
) -> None:
    await sqlite.record(record("call_1", taint=WEB))
    await sqlite.record(record("call_2"))
    with sqlite3.connect(ledger_path) as db:
        db.execute(change)
    with pytest.raises(LedgerTampered):
        await sqlite.taint(*HERE)
    with pytest.raises(LedgerTampered):
        await sqlite.record(record("call_3", taint=WEB))
    with pytest.raises(LedgerTampered):
        await sqlite.verify()


async def test_an_event_of_taint_that_says_nothing_of_it_is_none_of_ours(sqlite: SqliteStore) -> None:
    await sqlite.record(record("call_1", kind=EventKind.TAINT_MARKED))
    with pytest.raises(LedgerTampered):
        await sqlite.taint(*HERE)


@pytest.mark.usefixtures("sqlite")
def test_taint_is_found_by_an_index_however_long_the_ledger(ledger_path: Path) -> None:
    asked: list[str] = []
    with closing(sqlite3.connect(ledger_path)) as db:
        db.set_trace_callback(asked.append)
        find_taint(db, *HERE)
        db.set_trace_callback(None)
        plans = [str(db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()) for sql in asked if sql.startswith("SELECT")]
    for plan, index in zip(plans, ("events_of_taint_by_run", "events_of_taint_by_principal"), strict=True):
        assert f"USING INDEX {index}" in plan
