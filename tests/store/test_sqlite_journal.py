"""Opening a file that others open, too."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.model.errors import LedgerTampered
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.journal import use_wal
from gateway.store.sqlite.migrate import migrate
from gateway.store.sqlite.summing import Sums


@pytest.fixture
def db(ledger_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(ledger_path, isolation_level=None, timeout=0)) as opened:
        opened.execute("CREATE TABLE t (a)")
        opened.execute("INSERT INTO t VALUES (1)")
        yield opened


def mode(db: sqlite3.Connection) -> str:
    return str(db.execute("PRAGMA journal_mode").fetchone()[0])


def test_a_file_keeps_a_write_ahead_log_from_then_on(db: sqlite3.Connection) -> None:
    use_wal(db)
    use_wal(db)
    assert mode(db) == "wal"


def test_a_reader_that_never_ends_keeps_the_journal_from_being_changed(
    db: sqlite3.Connection, ledger_path: Path
) -> None:
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t").fetchall()
        asked: list[str] = []
        db.set_trace_callback(asked.append)
        with pytest.raises(sqlite3.OperationalError, match="other processes"):
            use_wal(db, 0.05)
        db.set_trace_callback(None)
        waits = [int(one.rpartition("=")[2]) for one in asked if "busy_timeout" in one]
        assert waits == sorted(waits, reverse=True)  # what is left of one wait, never another one
        assert waits[0] <= 50
        reader.execute("ROLLBACK")
    use_wal(db)
    assert mode(db) == "wal"


def test_a_writer_that_ends_meanwhile_is_waited_for(db: sqlite3.Connection, ledger_path: Path) -> None:
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def end(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE":  # asked for once the journal could not be changed
                other.execute("ROLLBACK")

        db.set_trace_callback(end)
        use_wal(db, 0.2)
        db.set_trace_callback(None)
        assert not other.in_transaction
    assert mode(db) == "wal"


def test_another_fault_is_not_waited_for(db: sqlite3.Connection, ledger_path: Path) -> None:
    reading = sqlite3.connect(f"file:{ledger_path}?mode=ro", uri=True, isolation_level=None)
    with closing(reading), pytest.raises(sqlite3.OperationalError, match="readonly"):
        use_wal(reading)
    assert mode(db) == "delete"


def test_a_migration_that_fails_leaves_nothing_behind(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE events (a)")  # a file of something else
    with pytest.raises(LedgerTampered) as found:
        migrate(db, 0, Sums())
    assert "the row 1 of migrations, though it was run: table events already exists" in found.value.detail
    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'migrations'").fetchone() == (0,)


async def test_a_migration_that_was_left_out_is_made_up_for(ledger_path: Path, sqlite: SqliteStore) -> None:
    await sqlite.close()
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("DROP TABLE pauses")
        db.execute("DELETE FROM migrations WHERE name = '0004_pauses.sql'")
    await sqlite.open()
    assert await sqlite.pauses() == []


async def test_a_ledger_whose_migration_was_run_without_being_on_record_is_no_ledger(
    ledger_path: Path, sqlite: SqliteStore
) -> None:
    await sqlite.close()
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("DELETE FROM migrations WHERE number = 5")
    with pytest.raises(LedgerTampered) as found:
        await sqlite.open()
    assert "the row 5 of migrations, though it was run: duplicate column name" in found.value.detail


async def test_a_disk_that_a_migration_finds_full_is_no_ledger_changed(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE other (a)")
    db.execute("PRAGMA max_page_count = 12")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        migrate(db, 0, Sums())
