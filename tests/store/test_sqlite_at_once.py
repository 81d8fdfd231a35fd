"""The record of a read that comes alone: written where it is asked for, without the connection's thread."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import LedgerTampered, StoreFault
from gateway.store.ports import EventKind
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.transaction import Transaction
from tests.store.making import ending, intent, record

HERE = threading.get_ident()
PAGE_BYTES = 4096 + 24


@pytest.fixture
async def warm(sqlite: SqliteStore) -> SqliteStore:
    """A store of which the thread knows the log as it is, and that was not slow, however busy the machine."""
    await write(sqlite)
    sqlite._write_to._slow_s = float("inf")
    sqlite._write_to._spared_until = 0.0
    return sqlite


def where(transaction: Transaction) -> int:
    del transaction
    return threading.get_ident()


async def write(store: SqliteStore, transition: Callable[[Transaction], Any] = where) -> Any:
    """Write something as the record of a read is written; the answer is the thread in which that was done."""
    return await store._writer.write_brief(transition)


async def at_rest(store: SqliteStore) -> None:
    while store._writer._busy:
        await asyncio.sleep(0)


async def in_turn(store: SqliteStore) -> int:
    """Write once all that the last one left to the event loop is done."""
    await at_rest(store)
    done: int = await write(store)
    return done


def setting(store: SqliteStore, name: str) -> int:
    link = store._write_to._link
    assert link is not None
    found: tuple[int] = link._conn.execute(f"PRAGMA {name}").fetchone()
    return found[0]


async def test_a_read_that_comes_alone_is_on_record_in_the_turn_in_which_it_is_asked_for(
    warm: SqliteStore, ledger_path: Path
) -> None:
    await in_turn(warm)
    await at_rest(warm)
    done = asyncio.ensure_future(warm.record(record("c1")))
    with closing(sqlite3.connect(ledger_path)) as db:
        assert db.execute("SELECT call_id FROM events").fetchall() == [("c1",)]
    await done
    assert await warm.verify() == 1


async def test_what_has_to_be_synced_or_may_take_long_is_left_to_the_thread(warm: SqliteStore) -> None:
    assert await in_turn(warm) == HERE
    assert await warm._writer.write(where) != HERE
    for long in (record("c1", body={"x": "y" * 40_000}), record("c2", kind=EventKind.HEAD_SIGNED)):
        assert await in_turn(warm) == HERE
        await at_rest(warm)
        done = warm.record(long)
        assert not asyncio.ensure_future(done).done()
        await done


async def test_reads_that_come_together_go_into_one_transaction(warm: SqliteStore) -> None:
    await in_turn(warm)
    together = await asyncio.gather(*(write(warm, lambda transaction: transaction) for _ in range(5)))
    assert all(each is together[1] for each in together[1:])  # the first could not know of them
    assert await in_turn(warm) != HERE  # others may be about to come again
    assert await in_turn(warm) == HERE


async def test_now_and_then_the_thread_brings_the_log_into_the_database(warm: SqliteStore, ledger_path: Path) -> None:
    log = ledger_path.with_name("ledger.db-wal")
    for number in range(600):
        await warm.record(record(f"c{number}", body={"x": "y" * 20_000}))
        await at_rest(warm)
    assert log.stat().st_size < (1000 + 65 * 16) * PAGE_BYTES
    assert await warm.verify() == 600


async def test_the_first_to_write_after_the_log_was_brought_into_the_database_is_the_thread(
    warm: SqliteStore, ledger_path: Path
) -> None:
    """It begins the log anew, and what it begins with is synced."""
    await in_turn(warm)
    assert await in_turn(warm) == HERE
    await warm.claim(intent("c1"))
    with closing(sqlite3.connect(ledger_path)) as other:
        assert other.execute("PRAGMA wal_checkpoint").fetchone()[0] == 0
    assert await in_turn(warm) != HERE
    assert await in_turn(warm) == HERE


async def test_a_lock_of_others_is_waited_for_by_the_thread_alone(warm: SqliteStore, ledger_path: Path) -> None:
    assert await in_turn(warm) == HERE
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(in_turn(warm))
        while not warm._write_to._in_use.locked():  # by the thread, which waits
            await asyncio.sleep(0)
        other.execute("ROLLBACK")
        assert await waiting != HERE
    assert await in_turn(warm) == HERE


async def test_what_the_thread_does_waits_for_locks_again_and_keeps_the_log_short(warm: SqliteStore) -> None:
    before = [setting(warm, name) for name in ("busy_timeout", "wal_autocheckpoint")]
    assert await in_turn(warm) == HERE
    assert [setting(warm, name) for name in ("busy_timeout", "wal_autocheckpoint")] == [0, 0]
    await warm.claim(intent("c1"))
    assert [setting(warm, name) for name in ("busy_timeout", "wal_autocheckpoint")] == before
    await warm.finish(ending("c1"))
    assert await in_turn(warm) == HERE


async def test_what_the_thread_is_doing_is_not_disturbed(warm: SqliteStore) -> None:
    goes_on = threading.Event()
    doing = asyncio.ensure_future(warm._write_to.run(lambda _: goes_on.wait()))
    while not warm._write_to._in_use.locked():
        await asyncio.sleep(0)
    waiting = asyncio.ensure_future(in_turn(warm))
    while not warm._writer._busy:
        await asyncio.sleep(0)
    goes_on.set()
    assert await waiting != HERE
    await doing


async def test_after_one_that_was_slow_the_thread_writes_for_a_while(warm: SqliteStore) -> None:
    assert await in_turn(warm) == HERE
    warm._write_to._slow_s = 0.0
    assert await in_turn(warm) == HERE
    assert warm._write_to._spared_until > time.monotonic()
    assert await in_turn(warm) != HERE


async def test_a_fault_is_the_same_as_the_threads(warm: SqliteStore, ledger_path: Path) -> None:
    def refuse(transaction: Transaction) -> None:
        seen.append(threading.get_ident())
        transaction.db.execute("SELECT * FROM nothing_of_that_name")

    seen: list[int] = []
    await at_rest(warm)
    with pytest.raises(StoreFault, match="cannot be read or written"):
        await write(warm, refuse)
    assert seen[0] == HERE != seen[1]
    await warm.record(record("c1"))
    assert await in_turn(warm) == HERE
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("DELETE FROM events")
        db.execute("UPDATE chain_head SET seq = 0, hash = 'x'")
    with pytest.raises(LedgerTampered):
        await in_turn(warm)


async def test_a_bug_fails_who_waits_and_work_goes_on(warm: SqliteStore) -> None:
    def bug(transaction: Transaction) -> None:
        raise KeyError("a bug")

    await at_rest(warm)
    with pytest.raises(KeyError):
        await write(warm, bug)
    assert await in_turn(warm) == HERE


async def test_where_the_file_is_gone_the_thread_says_so(warm: SqliteStore, ledger_path: Path) -> None:
    await warm.claim(intent("c1"))
    moved = ledger_path.rename(ledger_path.with_name("elsewhere.db"))
    with pytest.raises(StoreFault, match="nothing was done"):
        await in_turn(warm)
    moved.rename(ledger_path)
    await in_turn(warm)
    assert await in_turn(warm) == HERE


async def test_reads_that_come_rarely_are_not_written_into_a_file_that_was_moved_away(
    warm: SqliteStore, ledger_path: Path
) -> None:
    await in_turn(warm)
    assert await in_turn(warm) == HERE
    ledger_path.rename(ledger_path.with_name("elsewhere.db"))
    warm._write_to._looked = float("-inf")
    with pytest.raises(StoreFault, match="nothing was done"):
        await in_turn(warm)
    ledger_path.with_name("elsewhere.db").rename(ledger_path)


async def test_what_was_delivered_is_noted_along(warm: SqliteStore) -> None:
    await warm.claim(intent("c1", step_key="k"))
    await warm.finish(ending("c1"))
    await warm.deliver("c1")
    assert warm._delivering
    assert await in_turn(warm) == HERE
    assert not warm._delivering
    kept = await warm.recorded("billing", "payments.pay", "k")
    assert kept is not None
    assert kept.delivered
