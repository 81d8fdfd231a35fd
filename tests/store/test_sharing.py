"""What many bodies end with is written once, and read, checked and removed as if it stood in each of them."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.codec import dump
from gateway.model.errors import LedgerTampered
from gateway.store.bodies import load
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, Store
from gateway.store.removable import Share, shared
from gateway.store.retention import Removal
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, ending, intent, lookup, record, use

DAY = 86_400_000
CANARY = "seen by nobody later"
SHARE = shared(dump({"given": {"principal": CANARY}, "decision": {"allowed": True}}))
OTHER = shared(b'{"given":{"principal":"another"}}')


def body(share: Share = SHARE, **arguments: Any) -> Mapping[str, Any]:
    return {"received_ms": T0, "outcome": "succeeded", "shared": share, "arguments": arguments}


async def fill(store: Store) -> None:
    """Three reads and a call, of which one read ends otherwise."""
    await store.record(record("read 1", body=body(n=1)))
    await store.record(record("read 2", body=body(OTHER, n=2)))
    await store.claim(intent("check", "fraud.check", body=body(payment_id=7)))
    await store.finish(ending("check"))
    await store.record(record("read 3", body=body(n=3), at_ms=T0 + 2 * DAY))


async def bodies(store: Store) -> list[dict[str, Any]]:
    return [load(event.body.encode()) async for event in store.events(EventFilter())]


def rows(path: Path, sql: str = "SELECT id, digest, uses FROM shares ORDER BY id") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def edit(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


async def test_a_body_that_shares_is_read_whole_wherever_it_is_read(store: Store) -> None:
    await fill(store)
    assert [each.get("given") for each in await bodies(store)] == [
        *({"principal": CANARY}, {"principal": "another"}, {"principal": CANARY}),
        *(None, {"principal": CANARY}),
    ]
    made = await store.made("read 1")
    assert made is not None
    assert made.claim_body["decision"] == {"allowed": True}
    asked = lookup(values=[("payment_id", 7)])
    assert [step and step.call_id for step in await store.steps([asked])] == ["check"]
    await store.claim(intent("pay", uses=(use("check", asked),)))
    [pay] = await store.unfinished()
    assert pay.call_id == "pay"
    assert await store.verify() == 6


async def test_both_stores_write_the_same_chain(sqlite: SqliteStore) -> None:
    memory = MemoryStore(FakeClock())
    for store in (memory, sqlite):
        await fill(store)
    hashes = [[event.hash async for event in store.events(EventFilter())] for store in (memory, sqlite)]
    assert hashes[0] == hashes[1]


async def test_what_bodies_share_stands_once_in_the_file(ledger_path: Path, sqlite: SqliteStore) -> None:
    await fill(sqlite)
    assert rows(ledger_path) == [(1, SHARE.digest, 3), (2, OTHER.digest, 1)]
    assert rows(ledger_path, f"SELECT count(*) FROM events WHERE body LIKE '%{CANARY}%'") == [(0,)]
    assert rows(ledger_path, "SELECT shared FROM events ORDER BY seq") == [(1,), (2,), (1,), (None,), (1,)]


async def test_of_more_shares_than_are_kept_in_mind_each_still_stands_once(
    ledger_path: Path, sqlite: SqliteStore
) -> None:
    many = [shared(dump({"given": number})) for number in range(4200)]
    for turn in range(0, len(many), 100):
        await asyncio.gather(*(sqlite.record(record(f"{n}", body=body(many[n]))) for n in range(turn, turn + 100)))
    await sqlite.record(record("first again", body=body(many[0])))
    assert rows(ledger_path, "SELECT count(*), max(uses), sum(uses) FROM shares") == [(4200, 2, 4201)]
    assert await sqlite.verify() == 4201


async def test_arguments_that_look_like_the_shared_part_are_not_taken_for_it(store: Store) -> None:
    told = body(shared={"given": "mine"})
    await store.record(record("read", body=told))
    [found] = await bodies(store)
    assert (found["arguments"], found["given"]) == ({"shared": {"given": "mine"}}, {"principal": CANARY})
    assert await store.verify() == 1


async def test_a_share_goes_from_the_file_with_the_last_body_that_ends_with_it(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    await fill(store)
    assert (await store.remove_bodies(Removal(T0 + DAY, T0 + 9 * DAY, 0))).bodies == 4
    assert rows(ledger_path) == [(1, SHARE.digest, 1)]
    assert await store.verify() == 6
    assert (await store.remove_bodies(Removal(T0 + 3 * DAY, T0 + 9 * DAY, 4))).bodies == 1
    assert rows(ledger_path) == []
    assert await store.verify() == 7
    await store.record(record("later", body=body(OTHER)))
    assert (await bodies(store))[-1]["given"] == {"principal": "another"}
    assert await store.verify() == 8
    await store.remove_bodies(Removal(T0 + DAY, T0 + 9 * DAY, 7))
    await store.close()
    assert CANARY.encode() not in ledger_path.read_bytes()


async def test_two_processes_name_what_they_share_by_one_row(ledger_path: Path, sqlite: SqliteStore) -> None:
    other = SqliteStore(ledger_path, FakeClock())
    await other.open()
    for number, store in enumerate((sqlite, other, sqlite)):
        await store.record(record(f"read {number}", body=body()))
    await other.remove_bodies(Removal(T0 + DAY, T0 + 9 * DAY, 0))
    await sqlite.record(record("read again", body=body(n=9)))
    assert rows(ledger_path) == [(1, SHARE.digest, 1)]
    assert await other.verify() == 5
    await other.close()


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("INSERT INTO shares VALUES (9, 'x', 1, '{}')", 9),
        ("INSERT INTO shares VALUES (9, 'x', 0, x'00')", 9),
        ("UPDATE shares SET uses = uses + 1 WHERE id = 1", 1),
        ("UPDATE shares SET digest = 'x' WHERE id = 2", 2),
    ],
)
async def test_a_row_that_no_event_rests_on_so_is_named(
    ledger_path: Path, sqlite: SqliteStore, change: str, row: int
) -> None:
    await fill(sqlite)
    edit(ledger_path, change)
    with pytest.raises(LedgerTampered) as found:
        await sqlite.verify()
    assert found.value.detail == f"no event tells of the row {row} of shares"


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        ("UPDATE shares SET body = replace(body, 'true', 'false')", 1),
        ("UPDATE shares SET body = x'2c' WHERE id = 2", 2),
        ("DELETE FROM shares WHERE id = 2", 2),
        ("UPDATE events SET shared = 2 WHERE seq = 3", 3),
        ("UPDATE events SET shared = NULL WHERE seq = 3", 3),
        ("UPDATE events SET shared = 1 WHERE seq = 4", 4),
    ],
)
async def test_an_event_that_ends_otherwise_is_named(
    ledger_path: Path, sqlite: SqliteStore, change: str, seq: int
) -> None:
    await fill(sqlite)
    edit(ledger_path, change)
    with pytest.raises(LedgerTampered) as found:
        await sqlite.verify()
    assert (found.value.seq, "was changed" in found.value.detail) == (seq, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE events SET shared = 93 WHERE seq = 4", "event 4 names the row 93 of shares, which is missing"),
        ("UPDATE events SET shared = 'x' WHERE seq = 4", "event 4 names the row x of shares, which is missing"),
        ("UPDATE events SET body = CAST(body AS BLOB) WHERE seq = 4", "event 4 has a body that is no text"),
    ],
)
async def test_an_event_that_reads_the_same_and_is_another_is_named(
    ledger_path: Path, sqlite: SqliteStore, change: str, said: str
) -> None:
    await fill(sqlite)
    edit(ledger_path, change)
    with pytest.raises(LedgerTampered) as found:
        await sqlite.verify()
    assert found.value.detail == said


async def test_a_ledger_of_an_earlier_version_holds_and_goes_on(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    whole = {"received_ms": T0, "outcome": "succeeded", "arguments": {}, "shared": {"given": 7}}
    await store.record(record("before", body=whole))  # its shared part in the event, as it was written then
    await store.close()
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("ALTER TABLE events DROP COLUMN shared")
        db.execute("DROP TABLE shares")
        db.execute("CREATE INDEX calls_unfinished ON calls (claim_seq) WHERE end_seq IS NULL")
        db.execute("DROP TABLE sums")
        db.execute("DELETE FROM migrations WHERE number IN (29, 32)")
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    assert await store.verify() == 2  # and that what no event tells of was summed
    await store.record(record("after", body=body()))
    assert [each["given"] for each in await bodies(store) if "given" in each] == [7, {"principal": CANARY}]
    assert await store.verify() == 3
    await store.close()
