"""Approvals as rows, each an index of events of the chain."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from gateway.store.approval_events import (
    body_of,
    changed,
    contradicted,
    may_be_used,
    opened,
    returned,
    trail_of,
    used,
)
from gateway.store.approvals import (
    Answered,
    ApprovalAsk,
    ApprovalChange,
    ApprovalFilter,
    ApprovalRow,
    ApprovalTrail,
)
from gateway.store.bodies import relied_on
from gateway.store.ports import EventKind, Intent
from gateway.store.sqlite.lookups import find_told
from gateway.store.sqlite.transaction import Transaction

__all__ = ["ask", "change", "find", "find_held", "find_held_now", "give_back", "list_all", "row_of", "usable", "use"]

COLUMNS: Final = "id, asked_seq, binding, standing, state, version, used, most, until_ms, last_seq"
_ROW: Final = f"SELECT {COLUMNS} FROM approvals WHERE id = ?"  # noqa: S608 - constant names
_HELD: Final = (
    f"SELECT {COLUMNS} FROM approvals WHERE binding = ? AND used < most AND until_ms > ?"  # noqa: S608 - constant names
    " AND state NOT IN ('expired', 'revoked') ORDER BY state = 'approved' DESC, asked_seq DESC LIMIT 1"
)
_PUT: Final = f"INSERT OR REPLACE INTO approvals ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant names
_LIST: Final = f"SELECT {COLUMNS} FROM approvals WHERE 1 = 1"  # noqa: S608 - constant names
_OPEN: Final = " AND state IN ('pending', 'approved') AND used < most"
_LAST: Final = "SELECT max(seq) FROM events WHERE call_id = ? AND kind NOT IN ('call.claimed', 'call.finished')"
_ABOUT: Final = "SELECT run_id, agent, on_behalf_of, tool FROM events WHERE seq = ?"


def ask(tx: Transaction, asked: ApprovalAsk) -> Answered:
    """Open an approval, or return the one that stands for its binding."""
    tx.write_events()
    held = find_held(tx.db, asked.binding, asked.at_ms)
    if held is not None:
        return Answered(held, opened=False)
    row = opened(asked, tx.seq + 1)
    _open(tx, asked, row, body_of(row, asked.body))
    tx.write_events()
    return Answered(_trail(tx.db, row), opened=True)


def change(tx: Transaction, changes: ApprovalChange, opens: ApprovalAsk | None) -> bool:
    """Change an approval if it is still what it was; with `opens`, open another in its place."""
    tx.write_events()
    row = row_of(tx.db, changes.id)
    if row is None or row.version != changes.version or not row.is_open:
        return False
    if opens is not None and find_held(tx.db, opens.binding, opens.at_ms) is not None:
        return False
    row = changed(row, changes, tx.seq + 1)
    body = body_of(row, changes.body)
    if opens is None:
        _tell(tx, row, (changes.at_ms, changes.kind), body)
        return True
    another = opened(opens, row.last_seq + 1)
    text = body_of(another, opens.body)  # before anything is written: what cannot be is refused as a whole
    _tell(tx, row, (changes.at_ms, changes.kind), body)
    _open(tx, opens, another, text)
    return True


def usable(tx: Transaction, intent: Intent) -> Sequence[ApprovalRow] | None:
    """Return the rows of the approvals that a call relies on, if it may use them all now."""
    found = []
    for wanted in relied_on(intent):
        row = row_of(tx.db, wanted.id)
        if row is None or not may_be_used(row, wanted, intent.at_ms):
            return None
        found.append(row)
    return found


def use(tx: Transaction, rows: Sequence[ApprovalRow], intent: Intent) -> None:
    """Note, behind the claim itself, that it used these approvals."""
    for each in rows:
        row = used(each, tx.seq + 1)
        told = (intent.at_ms, EventKind.APPROVAL_USED.value, row.id, intent.run_id)
        tx.append((*told, intent.agent, intent.on_behalf_of, intent.tool), body_of(row, {"call": intent.call_id}))
        tx.db.execute(_PUT, row)


def give_back(tx: Transaction, approval_id: str, call_id: str, at_ms: int) -> None:
    """Undo the use by a call that certainly did nothing."""
    tx.write_events()
    row = row_of(tx.db, approval_id)
    if row is not None:
        row = returned(row, tx.seq + 1)
        _tell(tx, row, (at_ms, EventKind.APPROVAL_RETURNED.value), body_of(row, {"call": call_id}))


def row_of(db: sqlite3.Connection, approval_id: str) -> ApprovalRow | None:
    """Return the row of an approval."""
    return _row(db.execute(_ROW, (approval_id,)).fetchone())


def find(db: sqlite3.Connection, approval_id: str) -> ApprovalTrail | None:
    """Return an approval by id."""
    db.execute("BEGIN")
    try:
        row = row_of(db, approval_id)
        return None if row is None else _trail(db, row)
    finally:
        db.execute("ROLLBACK")


def find_held_now(db: sqlite3.Connection, binding: str, at_ms: int) -> ApprovalTrail | None:
    """As `find_held`, on one snapshot."""
    db.execute("BEGIN")
    try:
        return find_held(db, binding, at_ms)
    finally:
        db.execute("ROLLBACK")


def find_held(db: sqlite3.Connection, binding: str, at_ms: int) -> ApprovalTrail | None:
    """Return the approval that stands for a binding."""
    row = _row(db.execute(_HELD, (binding, at_ms)).fetchone())
    return None if row is None else _trail(db, row)


def list_all(db: sqlite3.Connection, wanted: ApprovalFilter) -> list[ApprovalTrail]:
    """Return the approvals wanted, the newest first."""
    sql, values = _LIST, []
    if wanted.is_open:
        sql += _OPEN
    if wanted.standing is not None:
        sql, values = f"{sql} AND standing = ?", [int(wanted.standing)]
    if wanted.until_ms:
        sql, values = f"{sql} AND until_ms <= ?", [*values, wanted.until_ms]
    if wanted.before_seq:
        sql, values = f"{sql} AND asked_seq < ?", [*values, wanted.before_seq]
    db.execute("BEGIN")
    try:
        rows = db.execute(f"{sql} ORDER BY asked_seq DESC LIMIT ?", (*values, wanted.limit)).fetchall()
        return [_trail(db, ApprovalRow._make(row)) for row in rows]
    finally:
        db.execute("ROLLBACK")


def _open(tx: Transaction, asked: ApprovalAsk, row: ApprovalRow, body: bytes) -> None:
    told = (asked.at_ms, str(asked.kind), row.id, asked.run_id)
    tx.append((*told, asked.agent, asked.on_behalf_of, asked.tool), body)
    tx.db.execute(_PUT, row)


def _tell(tx: Transaction, row: ApprovalRow, when: tuple[int, str], body: bytes) -> None:
    about = tx.db.execute(_ABOUT, (row.asked_seq,)).fetchone()
    if about is None:
        raise contradicted(row)
    tx.append((*when, row.id, *about), body)
    tx.db.execute(_PUT, row)


def _row(found: tuple[Any, ...] | None) -> ApprovalRow | None:
    return None if found is None else ApprovalRow._make(found)


def _trail(db: sqlite3.Connection, row: ApprovalRow) -> ApprovalTrail:
    last = db.execute(_LAST, (row.id,)).fetchone()[0]
    if last != row.last_seq:
        raise contradicted(row)
    asked, decided, latest = (find_told(db, seq) for seq in (row.asked_seq, row.version, row.last_seq))
    return trail_of(row._replace(standing=bool(row.standing)), asked, decided, latest)
