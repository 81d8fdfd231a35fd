"""The write-ahead log: readers and the writer of one file do not wait for each other."""

import sqlite3
import time

from gateway.store.sqlite.patience import LOCK_PATIENCE_S, be_patient, is_busy

__all__ = ["use_wal"]


def use_wal(db: sqlite3.Connection, patience_s: float = LOCK_PATIENCE_S) -> None:
    """Have the file keep a write-ahead log, also while other processes open it for the first time.

    Waits `patience_s` in all; from then on statements wait that long.

    Raises:
        sqlite3.OperationalError: it cannot be changed, or others keep it from being changed.
    """
    ends = time.monotonic() + patience_s
    # Changing a new file's journal does not wait for another process that does the same; taking the write lock does.
    while not _changed(db, ends - time.monotonic()):
        left = ends - time.monotonic()
        if left <= 0:
            raise _busy("other processes keep the file's journal from being changed")
        be_patient(db, left)
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    be_patient(db, patience_s)


def _changed(db: sqlite3.Connection, patience_s: float) -> bool:
    be_patient(db, patience_s)
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return False
        raise
    return True


def _busy(message: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"
    return error
