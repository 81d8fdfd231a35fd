"""What an operator has stopped, as rows and as events of the chain."""

import sqlite3
from typing import Final

from gateway.store.bodies import pause_event
from gateway.store.ports import EventKind, PauseRecord
from gateway.store.sqlite.transaction import Transaction

__all__ = ["end_pause", "find_pauses", "put_pause"]

_PUT: Final = "INSERT OR REPLACE INTO pauses (scope, since_ms, by_whom, reason) VALUES (?, ?, ?, ?)"
_END: Final = "DELETE FROM pauses WHERE scope = ? RETURNING scope"
_ALL: Final = "SELECT scope, since_ms, by_whom, reason FROM pauses ORDER BY since_ms, scope"


def put_pause(tx: Transaction, pause: PauseRecord) -> None:
    """Stop a scope."""
    tx.db.execute(_PUT, (pause.scope, pause.since_ms, pause.by, pause.reason))
    _tell(tx, pause, "paused")


def end_pause(tx: Transaction, pause: PauseRecord) -> bool:
    """Let a scope go on; False where it was not stopped."""
    if not tx.db.execute(_END, (pause.scope,)).fetchall():
        return False
    _tell(tx, pause, "unpaused")
    return True


def find_pauses(db: sqlite3.Connection) -> list[PauseRecord]:
    """Return what is stopped, oldest first."""
    return [PauseRecord(*row) for row in db.execute(_ALL)]


def _tell(tx: Transaction, pause: PauseRecord, deed: str) -> None:
    told, body = pause_event(pause, deed)
    tx.append((pause.since_ms, EventKind.ADMIN.value, "", *told), body)
