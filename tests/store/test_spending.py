"""What is good for one use, on every store."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.model.errors import StoreFault
from gateway.store.ports import EventFilter, EventKind, Record, Store
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0


async def test_an_item_is_spent_once_until_it_has_had_its_time(store: Store) -> None:
    assert await store.spend("a", T0 + 10, T0) is True
    assert await store.spend("b", T0 + 20, T0) is True
    assert await store.spend("a", T0 + 10, T0 + 9) is False
    assert await store.spend("a", T0 + 30, T0 + 10) is True
    assert await store.spend("b", T0 + 20, T0 + 10) is False


def came(number: int, at_ms: int = T0) -> Record:
    return Record(f"hook_{number}", at_ms, "", "", "", "events.hooks/deals", {"n": number}, EventKind.WEBHOOK_RECEIVED)


async def test_an_event_that_uses_something_up_is_recorded_once(store: Store) -> None:
    assert await store.record_once(came(1), "a", T0 + 10) is True
    assert await store.record_once(came(2, T0 + 9), "a", T0 + 20) is False
    assert await store.spend("a", T0 + 10, T0 + 9) is False
    assert await store.record_once(came(3, T0 + 10), "a", T0 + 20) is True
    events = [event async for event in store.events(EventFilter())]
    assert [json.loads(event.body)["n"] for event in events if event.kind is EventKind.WEBHOOK_RECEIVED] == [1, 3]
    assert await store.verify() == len(events) == 4  # that it was used up is an event of its own


async def test_an_event_that_cannot_be_written_uses_nothing_up(store: Store) -> None:
    bad = replace(came(1), body={"n": object()})
    with pytest.raises(StoreFault):
        await store.record_once(bad, "a", T0 + 10)
    assert await store.record_once(came(1), "a", T0 + 10) is True


async def test_messages_of_an_older_gateway_are_known_for_ninety_days(ledger_path: Path, sqlite: SqliteStore) -> None:
    for number, told in enumerate(({"key": "body:1"}, {"what": "no key"})):
        await sqlite.record(replace(came(number), body=told))
    await sqlite.close()
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("DELETE FROM migrations WHERE number = 22")
    later = SqliteStore(ledger_path, FakeClock())
    await later.open()
    known = "hook events.hooks/deals body:1"
    assert await later.spend(known, T0, T0 + 90 * 86_400_000 - 1) is False
    assert await later.spend(known, T0, T0 + 90 * 86_400_000) is True
    await later.close()


async def test_what_is_spent_stays_so_for_the_processes_to_come(ledger_path: Path, sqlite: SqliteStore) -> None:
    assert await sqlite.spend("a", T0 + 10, T0) is True
    later = SqliteStore(ledger_path, FakeClock())
    await later.open()
    assert await later.spend("a", T0 + 10, T0) is False
    await later.close()
