"""What was used up, as rows, each told of by an event of the chain."""

from typing import Final

from gateway.store.ports import Record
from gateway.store.removable import Text
from gateway.store.row_events import spent
from gateway.store.sqlite import transitions
from gateway.store.sqlite.transaction import Transaction
from gateway.store.told_rows import spent_row

__all__ = ["record_once", "spend"]

_IS_SPENT: Final = "SELECT 1 FROM spent WHERE id = ? AND until_ms > ?"
_FORGET: Final = "DELETE FROM spent WHERE until_ms <= ? RETURNING id"
_SPEND: Final = "INSERT INTO spent (id, until_ms) VALUES (?, ?)"


def spend(tx: Transaction, item: str, until_ms: int, at_ms: int) -> bool:
    """Use something up; False where it was used before."""
    if tx.db.execute(_IS_SPENT, (item, at_ms)).fetchone() is not None:
        return False
    forgotten = sorted(each for (each,) in tx.db.execute(_FORGET, (at_ms,)).fetchall())
    tx.db.execute(_SPEND, spent_row(item, until_ms).values)
    tx.append(*spent(item, until_ms, at_ms, forgotten))
    return True


def record_once(tx: Transaction, record: Record, body: Text, item: str, until_ms: int) -> bool:
    """Append an event and use up what it takes; False where that was used before."""
    fresh = spend(tx, item, until_ms, record.at_ms)
    if fresh:
        transitions.record(record, body, tx)
    return fresh
