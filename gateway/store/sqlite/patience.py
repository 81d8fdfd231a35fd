"""How long a statement waits for a lock that another process holds on the file."""

import sqlite3
from typing import Final

__all__ = ["AFTERWARDS_S", "LOCK_PATIENCE_S", "be_patient", "hurry", "is_busy", "take_time"]

LOCK_PATIENCE_S: Final = 1.5
"""How long the first statement that finds the file locked waits."""

AFTERWARDS_S: Final = 0.1
"""How long the next ones wait, until one gets through: whoever was refused has its refusal to write, too."""


_PAGES: Final = 1000
"""The pages in the log with which a commit brings it into the database, as SQLite has it on its own."""


def be_patient(db: sqlite3.Connection, seconds: float) -> None:
    """Have statements wait this long from now on."""
    # This pragma acts while it is compiled: a statement from the driver's cache would do nothing, a script is compiled
    # every time.
    db.executescript(f"PRAGMA busy_timeout = {max(int(seconds * 1000), 0)}")


def hurry(db: sqlite3.Connection) -> None:
    """Have statements wait for nothing from now on, and commits only append to the log."""
    db.executescript("PRAGMA busy_timeout = 0; PRAGMA wal_autocheckpoint = 0")


def take_time(db: sqlite3.Connection, seconds: float) -> None:
    """Have statements wait this long from now on, and commits bring a long log into the database."""
    be_patient(db, seconds)
    db.executescript(f"PRAGMA wal_autocheckpoint = {_PAGES}")


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another process's lock is all that was in the way."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_BUSY
