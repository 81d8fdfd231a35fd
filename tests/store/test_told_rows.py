"""Rows that events tell of: whatever a store does with them holds, and nothing else does."""

import json
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.codec import dump
from gateway.model.errors import LedgerTampered
from gateway.model.facts import RunRef
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, EventKind, PauseRecord, Record, Store, TokenRecord
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.migrate import files
from gateway.store.tasks import TaskRecord
from gateway.store.told_rows import TableRow
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, intent, record

DAY = 24 * 3_600_000
TOKEN = TokenRecord("tg_1", "payer", "sha256:d", T0, T0 + DAY)
TASK = TaskRecord("task_1", "call_1", "payer", True, T0 + 10, {"state": {"status": "working"}})
BEGUN = Record("call_1", T0, "run_1", "payer", "", "jobs.build", {"task": "task_1"}, EventKind.TASK_BEGUN)


async def rows_told(store: Store) -> list[tuple[EventKind, list[list[str | None]]]]:
    events = [event async for event in store.events(EventFilter())]
    return [(event.kind, rows) for event in events if (rows := json.loads(event.body).get("rows"))]


async def test_each_change_of_a_token_is_an_event_that_says_who_made_it(store: Store) -> None:
    await store.put_token(TOKEN, by="os:ann")
    await store.revoke_tokens("payer", T0 + 5, by="os:bob")
    await store.revoke_tokens("payer", T0 + 6, by="os:bob")
    await store.revoke_tokens("payer", T0 + 7, keep="tg_1")
    events = [event async for event in store.events(EventFilter())]
    told = [(event.kind, event.agent, event.at_ms, json.loads(event.body)) for event in events]
    assert [(kind, agent, at_ms, body["by"], body["tokens"]) for kind, agent, at_ms, body in told] == [
        (EventKind.TOKEN_ISSUED, "payer", T0, "os:ann", ["tg_1"]),
        (EventKind.TOKEN_REVOKED, "payer", T0 + 5, "os:bob", ["tg_1"]),
        (EventKind.TOKEN_REVOKED, "payer", T0 + 6, "os:bob", []),
    ]
    assert "sha256:d" not in "".join(event.body for event in events)
    assert await store.verify() == 3


async def test_what_is_spent_and_forgotten_holds(store: Store) -> None:
    assert await store.spend("a", T0 + 10, T0)
    assert await store.spend("b", T0 + 99, T0)
    assert await store.verify() == 2
    assert await store.spend("c", T0 + 99, T0 + 50)
    assert not await store.spend("c", T0 + 99, T0 + 51)
    assert [[key, digest is None] for _, key, digest in (await rows_told(store))[-1][1]] == [["a", True], ["c", False]]
    assert await store.verify() == 3


async def test_tasks_that_change_and_are_forgotten_hold(store: Store) -> None:
    await store.begin_task(TASK, BEGUN)
    await store.save_task(replace(TASK, body={"state": {"status": "input_required"}}), T0 + 1)
    await store.save_task(replace(TASK, id="task_9"), T0 + 1)
    await store.save_task(replace(TASK, is_open=False), T0 + 2)
    assert await store.forget_tasks(T0 + 10) == 0
    assert await store.verify() == 3
    assert await store.forget_tasks(T0 + 11) == 1
    kinds = [kind for kind, _ in await rows_told(store)]
    assert kinds == [EventKind.TASK_BEGUN, *[EventKind.TASK_CHANGED] * 2, EventKind.TASKS_FORGOTTEN]
    assert await store.verify() == 4


async def test_a_conversation_that_goes_on_in_one_run_after_another_holds(store: Store) -> None:
    for number, at_ms in enumerate((T0, T0 + 40 * DAY), 1):
        await store.open_run(RunRef(f"run_{number}", "payer", "handle"), f"k{number}", at_ms)
        await store.place_run("payer", "here", f"run_{number}", at_ms)
        await store.place_run("payer", f"place {number}", f"run_{number}", at_ms)
    assert await store.verify() == 6
    assert (await store.placed_runs("payer", ("here",)))["here"].run.id == "run_2"


async def test_a_pause_that_ended_and_began_again_holds(store: Store) -> None:
    for at_ms in (T0, T0 + 2):
        await store.put_pause(PauseRecord("all", at_ms, "os:ann"))
        await store.end_pause(PauseRecord("all", at_ms + 1, "os:ann"))
    await store.put_pause(PauseRecord("all", T0 + 9, "os:ann"))
    await store.put_pause(PauseRecord("all", T0 + 10, "os:bob", "again"))
    assert await store.verify() == 6


@pytest.mark.parametrize("text", ["CAST(x'ff' AS TEXT)", "x'7b7d'"])
async def test_a_value_that_no_store_writes_is_found(ledger_path: Path, sqlite: SqliteStore, text: str) -> None:
    await sqlite.put_token(TOKEN)
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute(f"UPDATE tokens SET agent = {text}")
    with pytest.raises(LedgerTampered, match="operator") as found:
        await sqlite.verify()
    assert (found.value.seq, "the row tg_1 of tokens" in found.value.detail) == (1, True)
    assert TableRow("tokens", "t", (b"{}",)).digest() == ""


async def test_a_token_without_an_event_is_named(ledger_path: Path, sqlite: SqliteStore) -> None:
    await sqlite.put_token(TOKEN)
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("INSERT INTO tokens SELECT 'tg_evil', agent, digest, created_ms, expires_ms, NULL FROM tokens")
    with pytest.raises(LedgerTampered) as found:
        await sqlite.verify()
    assert (found.value.seq, found.value.detail) == (0, "no event tells of the row tg_evil of tokens")


async def test_memory_without_a_row_that_an_event_tells_of_is_named() -> None:
    memory = MemoryStore(FakeClock())
    await memory.put_token(TOKEN)
    memory._tokens.clear()
    with pytest.raises(LedgerTampered) as found:
        await memory.verify()
    assert "tokens, where the row tg_1 is missing" in found.value.detail


@pytest.mark.parametrize("rows", [[["tokens", "tg_1"]], [["tokens", 1, "x"]], [5], [["tokens", "tg_1", 5]]])
async def test_an_event_that_tells_of_rows_in_no_known_way_is_named(rows: object) -> None:
    memory = MemoryStore(FakeClock())
    memory._append((T0, EventKind.TASK_CHANGED, "", "", "", "", ""), dump({"rows": rows}))
    with pytest.raises(LedgerTampered) as found:
        await memory.verify()
    assert "tells of rows as no store does" in found.value.detail


async def test_an_event_whose_body_is_no_object_tells_of_no_rows() -> None:
    memory = MemoryStore(FakeClock())
    memory._append((T0, EventKind.TASK_CHANGED, "", "", "", "", ""), b"[]")
    assert await memory.verify() == 1


def of_an_earlier_version(path: Path, *statements: str) -> None:
    """Make a database as it was before events told of every row."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at_ms INTEGER NOT NULL)")
        for number, name, text in files():
            if number not in {20, 32}:
                db.executescript(text)
                db.execute("INSERT INTO migrations VALUES (?, ?, 0)", (number, name))
        for statement in statements:
            db.execute(statement)


EARLIER = (
    f"INSERT INTO tokens VALUES ('tg_0', 'payer', 'd', {T0}, {T0 + DAY}, NULL)",
    f"INSERT INTO spent VALUES ('a', {T0 + DAY})",
    "INSERT INTO run_places VALUES ('payer', 'here', 'run_1', 1)",
    "INSERT INTO run_steps VALUES ('run_1', 7)",
)


async def test_rows_of_an_earlier_version_are_adopted_on_record(ledger_path: Path) -> None:
    of_an_earlier_version(ledger_path, *EARLIER)
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    assert await store.verify() == 1
    [(kind, rows)] = await rows_told(store)
    assert (kind, [row[:2] for row in rows]) == (
        EventKind.ROWS_ADOPTED,
        [["tokens", "tg_0"], ["spent", "a"], ["run_places", '["payer", "here"]']],
    )
    assert await store.count_steps("run_1") == 0  # counted anew: there are no such events
    assert await store.revoke_tokens("payer", T0) == ["tg_0"]
    assert await store.verify() == 2
    await store.close()


async def test_a_ledger_of_an_earlier_version_without_such_rows_gets_no_event(ledger_path: Path) -> None:
    of_an_earlier_version(ledger_path)
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    assert await store.verify() == 0
    await store.close()


async def told_of_a_token(store: SqliteStore) -> None:
    await store.put_token(TOKEN)


async def signed(store: SqliteStore) -> None:
    await store.record(record("head", kind=EventKind.HEAD_SIGNED, body={"seq": 0, "token": "t", "rows": True}))


@pytest.mark.parametrize("before", [told_of_a_token, signed])
async def test_rows_are_not_adopted_once_events_tell_of_them(
    ledger_path: Path, sqlite: SqliteStore, before: Callable[[SqliteStore], Awaitable[None]]
) -> None:
    await before(sqlite)
    await sqlite.close()
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("DELETE FROM migrations WHERE number = 20")
        db.execute(f"INSERT INTO tokens VALUES ('tg_evil', 'payer', 'd', {T0}, {T0 + DAY}, NULL)")
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    with pytest.raises(LedgerTampered) as found:
        await store.verify()
    assert "takes rows as they are, after events told of them already" in found.value.detail
    await store.close()


async def test_a_byte_changed_in_an_index_is_found_as_in_a_table(ledger_path: Path, sqlite: SqliteStore) -> None:
    for number in range(3):
        await sqlite.claim(intent(f"c{number}", step_key=f"only here {number}"))
    await sqlite.close()
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw = ledger_path.read_bytes()
    places = [found.start() for found in re.finditer(b"only here 1", raw)]
    assert len(places) == 3  # the event, the row, the index
    for place in places:
        ledger_path.write_bytes(raw[:place] + b"x" + raw[place + 1 :])
        store = SqliteStore(ledger_path, FakeClock())
        with pytest.raises(LedgerTampered):
            await store.verify()
        await store.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE TRIGGER forged AFTER INSERT ON pauses BEGIN DELETE FROM pauses; END", "the trigger forged"),
        ("DROP INDEX calls_by_live_key", "a database without the index calls_by_live_key"),
        ("DELETE FROM migrations WHERE number = 20", "the row 20 of migrations"),
        ("UPDATE run_steps SET steps = 9", "the row run_1 of run_steps"),
        ("INSERT INTO run_steps VALUES ('run_x', 0)", "the row run_x of run_steps"),
        ("INSERT INTO pauses VALUES ('all', 1, 'os:eve', '')", "the row all of pauses"),
    ],
)
async def test_what_no_event_tells_of_is_named(
    ledger_path: Path, sqlite: SqliteStore, statement: str, named: str
) -> None:
    await sqlite.index_steps("payments.pay", ("payment_id",))
    await sqlite.index_steps("payments.pay", ())
    await sqlite.record(record("c1"))
    await sqlite.record(record("c2", kind=EventKind.ADMIN, body={"deed": "something else"}))
    assert await sqlite.verify() == 2
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute(statement)
    with pytest.raises(LedgerTampered) as found:
        await sqlite.verify()
    assert named in found.value.detail
