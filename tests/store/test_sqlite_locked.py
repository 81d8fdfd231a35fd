"""A ledger file that another process keeps locked: refused within one bounded wait, and nothing is lost by it."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import StoreFault
from gateway.model.facts import StepStatus
from gateway.model.outcome import Failed, Succeeded
from gateway.store.ports import EventFilter
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.holder import holders_of
from gateway.store.sqlite.patience import AFTERWARDS_S, LOCK_PATIENCE_S
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PAYMENT, Gate, answer
from tests.store.making import ending, intent, record

PATIENCE_S = 0.2
HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    db.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path, *statements: str) -> Iterator[int]:
    """Let another process run these statements and keep its locks; yields its id."""
    command = [sys.executable, "-c", HOLD, str(path), *(statements or ("BEGIN EXCLUSIVE",))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid


@pytest.fixture
async def store(ledger_path: Path) -> SqliteStore:
    made = SqliteStore(ledger_path, FakeClock(), PATIENCE_S)
    await made.open()
    return made


async def patience_of(store: SqliteStore) -> int:
    found: tuple[int] = await store._write_to.run(_busy_timeout)
    return found[0]


def _busy_timeout(db: sqlite3.Connection) -> Any:
    return db.execute("PRAGMA busy_timeout").fetchone()


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


async def test_the_fault_names_the_process_that_holds_the_file(store: SqliteStore, ledger_path: Path) -> None:
    with held_elsewhere(ledger_path) as pid:
        with pytest.raises(StoreFault) as fault:
            await store.claim(intent("c1"))
        assert f"SQLITE_BUSY: database is locked; held by process {pid} (" in fault.value.detail
        assert str(pid) not in fault.value.message
    await store.claim(intent("c1"))
    assert await store.verify() == 1
    await store.close()


async def test_while_the_file_stays_locked_only_the_first_call_is_patient(
    store: SqliteStore, ledger_path: Path
) -> None:
    await store.claim(intent("c0"))
    seen: list[int] = []

    def look(transaction: Any) -> None:
        seen.append(_busy_timeout(transaction.db)[0])

    link = store._write_to._link
    assert link is not None
    with held_elsewhere(ledger_path):
        for _ in range(3):
            with pytest.raises(StoreFault):
                await store.claim(intent("c1"))
            seen.append(await link._execute(lambda: link._conn.execute("PRAGMA busy_timeout").fetchone()[0]))
    await store._writer.write(look)
    assert seen == [int(AFTERWARDS_S * 1000)] * 4
    assert await patience_of(store) == int(PATIENCE_S * 1000)
    await store.close()


def test_the_wait_of_a_refused_call_and_of_its_refusal_is_below_two_seconds() -> None:
    assert LOCK_PATIENCE_S + 4 * AFTERWARDS_S < 2  # each of the two behind a batch that is being written just then


async def test_an_effect_is_refused_while_the_file_is_locked_and_the_gateway_goes_on_after(
    store: SqliteStore, ledger_path: Path
) -> None:
    durable: Any = store
    gate = Gate(store=durable)
    gate.servers["payments"].calls.append(answer({"receipt": "r_1"}))
    with held_elsewhere(ledger_path):
        refused = [await gate.run("payments_pay") for _ in range(3)]
        together = await asyncio.gather(*(gate.run("payments_pay", {**PAYMENT, "amount": n}) for n in range(5)))
    for ended in (*refused, *together):
        assert isinstance(ended.outcome, Failed)
        assert (ended.outcome.error.code, ended.outcome.error.retryable) == ("store_unavailable", True)
    assert gate.servers["payments"].asked == []
    paid = await gate.run("payments_pay")
    assert isinstance(paid.outcome, Succeeded)
    assert len(gate.servers["payments"].asked) == 1
    events = [event.call_id async for event in store.events(EventFilter())]
    assert {ended.call.id for ended in (*refused, *together)} < set(events)
    assert all(events.count(ended.call.id) == 1 for ended in (*refused, *together))
    assert await store.unfinished() == []
    await store.verify()
    await store.close()


async def test_an_outcome_that_meets_the_lock_is_not_taken_for_recorded(store: SqliteStore, ledger_path: Path) -> None:
    await store.claim(intent("c1"))
    with held_elsewhere(ledger_path), pytest.raises(StoreFault):
        await store.finish(ending("c1"))
    assert [one.call_id for one in await store.unfinished()] == ["c1"]
    await store.finish(ending("c1", StepStatus.UNKNOWN))
    assert await store.verify() == 2
    await store.close()


async def test_what_nobody_waits_for_is_written_by_itself_once_the_lock_is_gone(
    store: SqliteStore, ledger_path: Path
) -> None:
    store._writer._retry_s = 0.01
    with held_elsewhere(ledger_path):
        await store.record_later(record("c1"))
        with pytest.raises(StoreFault):
            await store.claim(intent("c2"))
        await store.record_later(record("c3"))
        assert rows(ledger_path) == 0
    async with asyncio.timeout(30):
        while await asyncio.to_thread(rows, ledger_path) < 2:
            await asyncio.sleep(0.01)
    assert [event.call_id async for event in store.events(EventFilter())] == ["c1", "c3"]
    assert store._writer._again is None
    await store.close()


async def test_a_closed_store_tries_nothing_again(store: SqliteStore, ledger_path: Path) -> None:
    with held_elsewhere(ledger_path):
        await store.record_later(record("c1"))
        with pytest.raises(StoreFault):
            await store.close()
        assert store._writer._again is None
        assert store._write_to._link is None


@pytest.mark.parametrize(
    "statements",
    [("BEGIN EXCLUSIVE",), ("BEGIN IMMEDIATE",), ("BEGIN", "SELECT * FROM something")],
    ids=["exclusive", "writer", "reader"],
)
async def test_a_start_on_a_new_file_that_is_held_gives_up_and_says_who_holds_it(
    ledger_path: Path, statements: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("CREATE TABLE something (else_ TEXT)")
    store = SqliteStore(ledger_path, FakeClock(), PATIENCE_S)
    with held_elsewhere(ledger_path, *statements) as pid:
        with pytest.raises(StoreFault) as fault:
            await store.open()
        assert "SQLITE_BUSY" in fault.value.detail
        assert f"held by process {pid} (" in fault.value.detail
    await store.open()
    assert await patience_of(store) == int(PATIENCE_S * 1000)
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("DROP TABLE something")
    assert await store.verify() == 0
    await store.close()


async def test_a_start_on_a_ledger_that_is_held_reads_it_and_refuses_to_write(
    store: SqliteStore, ledger_path: Path
) -> None:
    await store.claim(intent("c0"))
    await store.close()
    again = SqliteStore(ledger_path, FakeClock(), PATIENCE_S)
    with held_elsewhere(ledger_path):
        await again.open()
        assert await again.verify() == 1
        with pytest.raises(StoreFault):
            await again.finish(ending("c0"))
    await again.finish(ending("c0"))
    await again.close()


def test_where_the_system_does_not_tell_who_holds_a_file_it_says_how_to_find_out(tmp_path: Path) -> None:
    file, locks = tmp_path / "a.db", tmp_path / "locks"
    file.touch()
    asked = f"lsof {file}"
    assert asked in holders_of(file, locks)
    assert "lsof" in holders_of(tmp_path / "missing.db")
    found = file.stat()
    held = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    locks.write_text(
        f"1: POSIX  ADVISORY  WRITE {os.getpid()} {held} 120 120\n"
        f"2: POSIX  ADVISORY  WRITE 0 {held} 120 120\n"
        f"3: OFDLCK ADVISORY  WRITE -1 {held} 120 120\n"
        "4: POSIX  ADVISORY  WRITE 77 00:00:1 120 120\n"
        f"5: -> POSIX  ADVISORY  WRITE 78 {held} 120 120\n"
    )
    assert asked in holders_of(file, locks)
    locks.write_text(f"1: POSIX  ADVISORY  READ 999999999 {held} 0 EOF\n")
    assert holders_of(file, locks) == "held by process 999999999 (?)"
    locks.write_bytes(b"\xff")
    assert asked in holders_of(file, locks)
