"""What was used up, as rows."""

from typing import Final

from gateway.store.ports import Record
from gateway.store.sqlite import transitions
from gateway.store.sqlite.transaction import Transaction

__all__ = ["record_once", "spend"]

_FORGET: Final = "DELETE FROM spent WHERE until_ms <= ?"
_SPEND: Final = "INSERT OR IGNORE INTO spent (id, until_ms) VALUES (?, ?)"


def spend(tx: Transaction, item: str, until_ms: int, at_ms: int) -> bool:
    """Use something up; False where it was used before."""
    tx.db.execute(_FORGET, (at_ms,))
    return tx.db.execute(_SPEND, (item, until_ms)).rowcount == 1


def record_once(tx: Transaction, record: Record, body: bytes, item: str, until_ms: int) -> bool:
    """Append an event and use up what it takes; False where that was used before."""
    fresh = spend(tx, item, until_ms, record.at_ms)
    if fresh:
        transitions.record(tx, record, body)
    return fresh
