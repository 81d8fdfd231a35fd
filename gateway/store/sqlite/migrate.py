"""Numbered, forward-only migrations: each file once, in order, in one transaction."""

import sqlite3
from collections.abc import Iterator
from importlib import resources

__all__ = ["migrate"]

_TABLE = (
    "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at_ms INTEGER NOT NULL)"
)


def migrate(db: sqlite3.Connection, at_ms: int) -> None:
    """Bring the schema up to date. Two processes may do so at once: the second finds it done."""
    found = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").fetchone()
    done = {number for (number,) in db.execute("SELECT number FROM migrations")} if found[0] else set()
    if not done.issuperset(number for number, _, _ in _files()):
        _run(db, at_ms)


def _run(db: sqlite3.Connection, at_ms: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(_TABLE)
        done = {number for (number,) in db.execute("SELECT number FROM migrations")}
        for number, name, text in _files():
            if number in done:
                continue
            for statement in _statements(text):
                db.execute(statement)
            db.execute("INSERT INTO migrations (number, name, at_ms) VALUES (?, ?, ?)", (number, name, at_ms))
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _files() -> list[tuple[int, str, str]]:
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
