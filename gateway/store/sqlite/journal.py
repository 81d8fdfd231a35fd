"""The write-ahead log: readers and the writer of one file do not wait for each other."""

import sqlite3
from typing import Final

__all__ = ["use_wal"]

_PATIENCE: Final = 50


def use_wal(db: sqlite3.Connection) -> None:
    """Have the file keep a write-ahead log, also while other processes open it for the first time.

    Raises:
        sqlite3.OperationalError: it cannot be changed, or others keep it from being changed.
    """
    # Changing a new file's journal does not wait for another process that does the same; taking the write lock does.
    for _ in range(_PATIENCE):
        if _changed(db):
            return
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    raise sqlite3.OperationalError("other processes keep the file's journal from being changed")


def _changed(db: sqlite3.Connection) -> bool:
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True
