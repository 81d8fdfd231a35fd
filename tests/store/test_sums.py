"""Sums of rows that no event tells of: whatever a store does with them holds, and nothing else does."""

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.model.errors import LedgerTampered
from gateway.store.ports import EventFilter, EventKind, SessionRecord, Store
from gateway.store.sightings import AgentSighting
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.summing import Sums
from gateway.store.sums import RowsChanged, Sum, SumKey
from tests.fixtures.clock import FakeClock
from tests.store.making import record, step

KEY = b"the gateway's own"


def opened(path: Path, key: bytes = KEY) -> SqliteStore:
    return SqliteStore(path, FakeClock(), key=key)


async def work(store: Store, *, summed: bool = True) -> None:
    """Have a store change every kind of such a row in every way; where it is not `summed`, as an earlier version."""
    for call_id in ("c1", "c2"):
        await step(store, call_id, {})
    for call_id, attempt in (("c1", 1), ("c1", 3), ("c1", 2), ("nobody", 1)):
        await store.deliver(call_id, attempt)
        await store.record(record(f"after {call_id} {attempt}"))
    await sign(store, summed=summed)
    await step(store, "c3", {})
    for call_id, attempt in (("c1", 5), ("c2", 1), ("c3", 1), ("c3", 2), ("c1", 4)):
        await store.deliver(call_id, attempt)
        await store.record(record(f"later {call_id} {attempt}"))
    for number in range(4):
        await store.put_session(SessionRecord(f"s{number}", number, {"name": "Zoë \U0001fae8"}))
    await store.put_session(SessionRecord("s2", 9, {"era": "2025-06-18"}))
    await store.end_session("s3")
    await store.end_session("nobody")
    assert await store.forget_sessions(1) == 1
    for calls in (1, 0, 2):
        await store.saw_agents([AgentSighting("payer", True, calls, calls=calls), AgentSighting("?", False, 1)])
    await store.index_steps("payments.pay", ("payment_id",))
    await store.index_steps("payments.pay", ("payment_id",))
    await store.record(record("last"))


async def test_whatever_a_store_does_with_such_rows_holds(store: Store) -> None:
    await work(store)
    assert await store.verify() > 8
    await store.adopt_rows()
    await work_more(store)
    assert await store.verify() > 8


async def sign(store: Store, *, summed: bool = True) -> None:
    body = {"seq": 0, "token": "t", "rows": True, "sums": summed}
    await store.record(record("head", kind=EventKind.HEAD_SIGNED, body=body))


async def work_more(store: Store) -> None:
    await store.deliver("c2", 7)
    await store.put_session(SessionRecord("s1", 10, {}))


async def test_two_heads_of_one_transaction_sum_up_once(tmp_path: Path) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await step(store, "c1", {})
    await store.deliver("c1", 1)
    await asyncio.gather(sign(store), sign(store), store.put_session(SessionRecord("s", 1, {})), store.adopt_rows())
    await store.deliver("c1", 2)
    assert await store.verify() == 4
    await store.close()


async def test_two_processes_that_take_turns_hold(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "l.db"), opened(tmp_path / "l.db")
    await first.open()
    await second.open()
    await work(first)
    for number in range(3):
        await first.put_session(SessionRecord(f"s{number}", 20, {}))
        await second.put_session(SessionRecord(f"s{number}", 30 + number, {}))
        await second.deliver("c1", 10 + number)
        await second.record(record(f"d{number}"))
    assert await second.verify() == await first.verify()
    await first.close()
    await second.close()


ODD = [
    ("UPDATE sessions SET body = '{}' WHERE id = 's2'", "the row s2 of sessions is"),
    ("UPDATE sessions SET seen_ms = seen_ms + 1 WHERE id = 's1'", "the row s1 of sessions is"),
    ("INSERT INTO sessions VALUES ('forged', 5, '{}')", "the row forged of sessions is"),
    ("DELETE FROM sessions WHERE id = 's1'", "sessions, where the row s1 is missing,"),
    ("DELETE FROM sessions", "more than one row of sessions, where there are 0 rows and were 2,"),
    (
        "UPDATE sessions SET id = 's7' WHERE id = 's1'",
        "more than one row of sessions, where there are 2 rows and were 2,",
    ),
    ("UPDATE sightings SET calls = 7 WHERE known", 'the row ["payer", 1] of sightings is'),
    ("DELETE FROM sightings WHERE NOT known", 'sightings, where the row ["?", 0] is missing,'),
    ("UPDATE calls SET delivered = 0 WHERE call_id = 'c1'", "calls, where the row c1 is missing,"),
    ("UPDATE calls SET delivered = delivered + 1 WHERE call_id = 'c2'", "the row c2 of calls is"),
    ("UPDATE migrations SET at_ms = 0 WHERE number = 7", "the row 7 of migrations is"),
    ("UPDATE sums SET kept = '0 0 0' WHERE name = 'sessions'", "the row sessions of sums is"),
    ("UPDATE sums SET seal = 'x' WHERE name = 'calls'", "the row calls of sums is"),
    ("DELETE FROM sums WHERE name = 'calls'", "the row calls of sums is"),
    ("INSERT INTO sums SELECT 'more', kept, seal FROM sums WHERE name = 'calls'", "the row more of sums is"),
    ("CREATE INDEX steps_0123456789abcdef01234567 ON calls (run_id)", "the row steps_0123456789abcdef01234567 of"),
]


@pytest.mark.parametrize(("statement", "named"), ODD)
async def test_what_the_gateway_did_not_do_is_named_and_can_be_accepted(
    tmp_path: Path, statement: str, named: str
) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await work(store)
    await store.close()
    with closing(sqlite3.connect(tmp_path / "l.db")) as db, db:
        db.execute(statement)
    await store.open()
    with pytest.raises(RowsChanged) as found:
        await store.verify()
    assert (found.value.seq, named in found.value.detail, "verify --accept" in found.value.detail) == (0, True, True)
    await store.adopt_rows()
    await work_more(store)
    assert await store.verify() > 8
    await store.close()


async def test_an_index_of_steps_that_is_gone_is_named(tmp_path: Path) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await work(store)
    with closing(sqlite3.connect(tmp_path / "l.db")) as db, db:
        [(name,)] = db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'steps%'")
        db.execute(f"DROP INDEX {name}")
    with pytest.raises(RowsChanged, match="operator") as found:
        await store.verify()
    assert f"sqlite_master, where the row {name} is missing" in found.value.detail
    await store.close()


async def test_sums_of_another_key_are_no_sums(tmp_path: Path) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await store.close()
    other = opened(tmp_path / "l.db", b"another")
    await other.open()
    with pytest.raises(RowsChanged) as found:
        await other.verify()
    assert "every row of sums, as it would be under another key" in found.value.detail
    await other.close()


async def test_nothing_is_added_to_a_sum_that_the_gateway_did_not_write(tmp_path: Path) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await work(store)
    with closing(sqlite3.connect(tmp_path / "l.db")) as db, db:
        db.execute("UPDATE sums SET kept = '0 0 0', seal = 'x' WHERE name = 'sessions'")
    with pytest.raises(RowsChanged):
        await store.put_session(SessionRecord("s9", 1, {}))
    assert await store.find_session("s9") is None
    await store.put_session(SessionRecord("s2", 9, {"era": "2025-06-18"}))  # as it is: there is nothing to add
    await store.close()


def of_an_earlier_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE sums")
        db.execute("DELETE FROM migrations WHERE number = 32")


async def test_rows_of_an_earlier_version_are_summed_on_record(tmp_path: Path) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await work(store, summed=False)
    events = await store.verify()
    await store.close()
    of_an_earlier_version(tmp_path / "l.db")
    await store.open()
    assert await store.verify() == events + 1
    [last] = [event async for event in store.events(EventFilter(limit=1, latest=True))]
    assert (last.kind, last.body) == (EventKind.ROWS_ADOPTED, '{"rows":[],"sums":true}')
    await work_more(store)
    assert await store.verify() == events + 1
    await store.close()


@pytest.mark.parametrize("before", ["a head", "the update"])
async def test_rows_are_not_summed_anew_once_they_were(tmp_path: Path, before: str) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await work(store, summed=before == "a head")
    await store.close()
    for _ in range(1 if before == "a head" else 2):
        of_an_earlier_version(tmp_path / "l.db")
        await store.open()
        await store.close()
    await store.open()
    with pytest.raises(LedgerTampered) as found:
        await store.verify()
    assert "sums rows as they are, after a sum was kept of them already" in found.value.detail
    await store.close()


async def test_a_later_migration_is_summed_with_the_others(tmp_path: Path) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await store.close()
    with closing(sqlite3.connect(tmp_path / "l.db")) as db, db:
        db.execute("DROP TABLE pauses")
        db.execute("DELETE FROM migrations WHERE number = 4")
        Sums(KEY).take(db)  # as if it had never been there
    await store.open()
    assert await store.verify() == 0
    await store.close()


def test_a_long_name_is_known_by_its_beginning() -> None:
    key, rows = SumKey(KEY), [("é" * 200, number, "") for number in range(2)]
    assert key.of("sessions", rows[:1]).odd_one(key.of("sessions", rows[1:])) == "é" * 79
    assert key.of("sessions", [(name, 1, "") for name in "ab"]).odd_one(key.of("sessions", rows[:1])) is None
    assert Sum(0, 1, 5, 6).odd_one(Sum(0, 1, 5, 7)) is None


@pytest.mark.parametrize("name", ["call_1", "it's", "é", "a\\b", "1a", "", "a\nb", 7, b"call_1", None])
@pytest.mark.parametrize("mark", [1 << 41, -1, 1.0, "1", b"1", None])
def test_a_delivered_call_is_summed_as_its_row_is_written_in_python(name: object, mark: object) -> None:
    keyed = hashlib.blake2b(b"toolgate sums\0", key=hashlib.blake2b(KEY).digest(), digest_size=32)
    keyed.update(ascii(("calls", name, mark)).encode())
    assert SumKey(KEY).of("calls", [(name, mark)]).total == int.from_bytes(keyed.digest())


async def test_no_head_is_signed_over_a_sum_that_the_gateway_did_not_write(tmp_path: Path) -> None:
    store = opened(tmp_path / "l.db")
    await store.open()
    await work(store)
    with closing(sqlite3.connect(tmp_path / "l.db")) as db, db:
        db.execute("UPDATE sums SET kept = '0 0 0 0' WHERE name = 'calls'")
    before = [event async for event in store.events(EventFilter())]
    with pytest.raises(RowsChanged):
        await sign(store)
    assert [event async for event in store.events(EventFilter())] == before
    await store.close()
