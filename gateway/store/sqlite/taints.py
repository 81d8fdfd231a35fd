"""Taint as events of the chain: the last one about a run or a principal says all that follows it."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from gateway.store.ports import Ending, EventKind, Record
from gateway.store.sqlite.lookups import EVENT_COLUMNS, event_from
from gateway.store.sqlite.transaction import Told, Transaction
from gateway.store.taint_events import Found, cleared_body, marked, marked_body, taint_of
from gateway.store.taints import Clearing, Taint

__all__ = ["clear_taint", "find_taint", "mark_of_ending", "mark_of_record"]

# As the indexes on events have it, letter by letter: only then are they used.
_TAINT: Final = "kind IN ('taint.marked', 'taint.cleared')"
_LAST: Final = (
    f"SELECT {EVENT_COLUMNS}, (SELECT prev_hash FROM events after WHERE after.seq = events.seq + 1),"  # noqa: S608 - constant names
    " (SELECT hash FROM chain_head WHERE id = 1 AND chain_head.seq = events.seq)"
    f" FROM events WHERE {{0}} AND {_TAINT} ORDER BY seq DESC LIMIT 1"
)
_OF_RUN: Final = _LAST.format("run_id = ?")
_OF_PRINCIPAL: Final = _LAST.format("agent = ? AND on_behalf_of = ?")
_CALL: Final = "SELECT run_id, agent, on_behalf_of, tool FROM calls WHERE call_id = ?"

Mark = tuple[Told, bytes]
"""An event to be, and its text: it says what follows a run and a principal once a call's labels are marked."""


def find_taint(db: sqlite3.Connection, run_id: str, agent: str, on_behalf_of: str) -> Taint:
    """Return what follows a run and a principal, on one snapshot."""
    db.execute("BEGIN")
    try:
        return _taint(db, run_id, agent, on_behalf_of)
    finally:
        db.execute("ROLLBACK")


def mark_of_ending(tx: Transaction, ending: Ending) -> Mark | None:
    """Return the mark of a claimed call that ends, to be appended behind its end; None where it carries nothing."""
    if not ending.taint:
        return None
    about = tx.db.execute(_CALL, (ending.call_id,)).fetchone()
    return None if about is None else _mark(tx, about, ending)


def mark_of_record(tx: Transaction, record: Record) -> Mark | None:
    """Return the mark of a call recorded whole, to be appended behind it; None where it carries nothing."""
    if not record.taint:
        return None
    return _mark(tx, (record.run_id, record.agent, record.on_behalf_of, record.tool), record)


def _mark(tx: Transaction, about: tuple[str, str, str, str], call: Ending | Record) -> Mark:
    tx.write_events()
    taint = marked(_taint(tx.db, *about[:3]), call.taint, call.at_ms)
    told = (call.at_ms, EventKind.TAINT_MARKED.value, "", *about)
    return told, marked_body(taint, call.taint, call.call_id)


def clear_taint(tx: Transaction, clearing: Clearing) -> bool:
    """Let go of a taint; False where there is none."""
    tx.write_events()
    about = (clearing.run_id, clearing.agent, clearing.on_behalf_of)
    before = _taint(tx.db, *about)
    if not before.run and not before.principal:
        return False
    tx.append((clearing.at_ms, EventKind.TAINT_CLEARED.value, "", *about, ""), cleared_body(clearing, before))
    return True


def _taint(db: sqlite3.Connection, run_id: str, agent: str, on_behalf_of: str) -> Taint:
    return taint_of(_found(db, _OF_RUN, [run_id]), _found(db, _OF_PRINCIPAL, [agent, on_behalf_of]))


def _found(db: sqlite3.Connection, sql: str, values: Sequence[str]) -> Found:
    row = db.execute(sql, values).fetchone()
    return Found(None, None) if row is None else Found(event_from(row[:11]), row[11] or row[12])
