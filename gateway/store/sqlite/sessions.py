"""The client sessions of the handshake eras, as rows."""

import sqlite3
from typing import Final

from gateway.codec import dump, parse
from gateway.store.ports import SessionRecord
from gateway.store.sqlite.transaction import Transaction

__all__ = ["end_session", "find_session", "forget_sessions", "put_session"]

_PUT: Final = "INSERT OR REPLACE INTO sessions (id, seen_ms, body) VALUES (?, ?, ?)"
_FIND: Final = "SELECT seen_ms, body FROM sessions WHERE id = ?"
_WAS: Final = "SELECT id, seen_ms, body FROM sessions WHERE id = ?"
_END: Final = "DELETE FROM sessions WHERE id = ? RETURNING id, seen_ms, body"
_FORGET: Final = "DELETE FROM sessions WHERE seen_ms < ? RETURNING id, seen_ms, body"


def put_session(tx: Transaction, session: SessionRecord) -> None:
    """Add a session, or put it in the place of what was known of it."""
    row = (session.id, session.seen_ms, dump(dict(session.body)).decode())
    tx.resum("sessions", tx.db.execute(_WAS, (session.id,)).fetchone(), row)
    tx.db.execute(_PUT, row)


def end_session(tx: Transaction, session_id: str) -> None:
    """Remove a session."""
    for row in tx.db.execute(_END, (session_id,)).fetchall():
        tx.resum("sessions", row, None)


def forget_sessions(tx: Transaction, before_ms: int) -> int:
    """Remove sessions nobody has changed since; return how many."""
    gone = tx.db.execute(_FORGET, (before_ms,)).fetchall()
    for row in gone:
        tx.resum("sessions", row, None)
    return len(gone)


def find_session(db: sqlite3.Connection, session_id: str) -> SessionRecord | None:
    """Return a session, or None."""
    row = db.execute(_FIND, (session_id,)).fetchone()
    return None if row is None else SessionRecord(session_id, row[0], parse(row[1].encode()))
