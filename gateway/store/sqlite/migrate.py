"""Numbered, forward-only migrations: each file once, in order, in one transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Final

from gateway.store.row_audit import untold
from gateway.store.row_events import summed
from gateway.store.sqlite.summing import Sums
from gateway.store.sqlite.telling import adopt_rows
from gateway.store.sqlite.transaction import Transaction

__all__ = ["files", "is_behind", "migrate"]

_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at_ms INTEGER NOT NULL)"
)
_ROWS_TOLD: Final = 20
"""From this one on events tell of every row."""
_ROWS_SUMMED: Final = 32
"""From this one on there is a sum of all others."""


def migrate(db: sqlite3.Connection, at_ms: int, sums: Sums) -> None:
    """Bring the schema up to date. Two processes may do so at once: the second finds it done.

    Raises:
        LedgerTampered: it is neither that of an earlier version nor of this one.
    """
    found = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").fetchone()
    done = {number for (number,) in db.execute("SELECT number FROM migrations")} if found[0] else set()
    if not done.issuperset(number for number, _, _ in files()):
        _run(db, at_ms, sums)


def is_behind(path: Path) -> bool:
    """Tell whether a database is of an earlier version: to open it would bring it up to date."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            done = {number for (number,) in db.execute("SELECT number FROM migrations")}
    except sqlite3.Error:  # it is none, or cannot be read: whoever opens it says so
        return False
    return not done.issuperset(number for number, _, _ in files())


def _run(db: sqlite3.Connection, at_ms: int, sums: Sums) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(_TABLE)
        done = {number for (number,) in db.execute("SELECT number FROM migrations")}
        for number, name, text in files():
            if number in done:
                continue
            _run_one(db, number, text)
            db.execute("INSERT INTO migrations (number, name, at_ms) VALUES (?, ?, ?)", (number, name, at_ms))
        _take_on(db, at_ms, sums, done)
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _run_one(db: sqlite3.Connection, number: int, text: str) -> None:
    try:
        for statement in _statements(text):
            db.execute(statement)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # of the disk, say
            raise
        raise untold(f"a database without the row {number} of migrations, though it was run: {error}") from None


def _take_on(db: sqlite3.Connection, at_ms: int, sums: Sums, done: set[int]) -> None:
    """Take the rows of an earlier version as they are; that it was done is an event, but in a new ledger."""
    transaction = Transaction(db, sums)
    is_new = not transaction.seq
    if _ROWS_TOLD not in done:
        adopt_rows(transaction, at_ms)
    if _ROWS_SUMMED in done:
        for row in db.execute("SELECT number, name, at_ms FROM migrations").fetchall():
            if row[0] not in done:
                transaction.resum("migrations", None, row)
    else:
        if not is_new:
            transaction.append(*summed(at_ms))
        transaction.sum_anew()
    transaction.settle()


def files() -> list[tuple[int, str, str]]:
    """Return number, name and text of every migration, in order."""
    folder = resources.files("gateway.store.sqlite") / "migrations"
    scripts = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.partition("_")[0]), f.name, f.read_text("utf-8")) for f in scripts]


def _statements(script: str) -> Iterator[str]:
    # The driver's own executescript would commit first.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
