"""Facts as rows, each an index of an event of the chain."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from gateway.model.facts import FactKey
from gateway.store.fact_events import contradicted, contradiction_body, fact_body, fact_from, judged, row_after, told_of
from gateway.store.facts import Fact, FactAnswer, FactPut, FactRow, FactUse, FactVerdict
from gateway.store.ports import EventKind
from gateway.store.sqlite.lookups import find_told
from gateway.store.sqlite.transaction import Transaction

__all__ = ["are_held", "find", "find_fact_row", "list_all", "put_fact"]

_COLUMNS: Final = "scope, owner, name, version, seq, until_ms, gone"
_ROW: Final = f"SELECT {_COLUMNS} FROM facts WHERE scope = ? AND owner = ? AND name = ?"  # noqa: S608 - constant names
_PUT: Final = f"INSERT OR REPLACE INTO facts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant names
_HOLDS: Final = "gone = 0 AND (until_ms = 0 OR until_ms > ?)"
_COUNT: Final = f"SELECT count(*) FROM facts WHERE scope = ? AND owner = ? AND {_HOLDS}"  # noqa: S608 - constant text
_LAST: Final = (
    "SELECT max(seq) FROM events WHERE kind IN ('fact.put', 'fact.deleted') AND json_extract(body, '$.fact.scope') = ?"
    " AND json_extract(body, '$.fact.owner') = ? AND json_extract(body, '$.fact.name') = ?"
)
_LIST: Final = (
    f"SELECT {_COLUMNS} FROM facts WHERE (?1 = '' OR scope = ?1) AND (?2 = '' OR owner = ?2)"  # noqa: S608 - constant text
    " AND gone = 0 AND (until_ms = 0 OR until_ms > ?3) ORDER BY scope, owner, name LIMIT ?4"
)


def put_fact(tx: Transaction, put: FactPut) -> FactAnswer:
    """Put or delete a fact, or say why not."""
    tx.write_events()
    row = find_fact_row(tx.db, put.key)
    held = _fact(tx.db, row, put.at_ms)
    verdict = judged(put, held, _count(tx.db, put))
    if verdict is FactVerdict.CONFLICT:
        tx.append(told_of(put, EventKind.FACT_CONTRADICTED.value), contradiction_body(put, held))
    if verdict is not FactVerdict.STORED:
        return FactAnswer(verdict, held)
    row = row_after(put, row, tx.seq + 1)
    kind = EventKind.FACT_DELETED if put.gone else EventKind.FACT_PUT
    tx.append(told_of(put, kind.value), fact_body(row, put))
    tx.db.execute(_PUT, row)
    tx.write_events()
    return FactAnswer(verdict, _fact(tx.db, row, put.at_ms))


def are_held(tx: Transaction, uses: Sequence[FactUse], at_ms: int) -> bool:
    """Tell whether facts still have the versions that a decision relied on."""
    return all(_version(find_fact_row(tx.db, use.key), at_ms) == use.version for use in uses)


def find(db: sqlite3.Connection, keys: Sequence[FactKey], at_ms: int) -> list[Fact | None]:
    """Return what holds of each, all on one snapshot."""
    db.execute("BEGIN")
    try:
        return [_fact(db, find_fact_row(db, key), at_ms) for key in keys]
    finally:
        db.execute("ROLLBACK")


def list_all(db: sqlite3.Connection, scope: str, owner: str, at_ms: int, limit: int) -> list[Fact]:
    """Return the facts of an owner that hold, by name."""
    db.execute("BEGIN")
    try:
        rows = db.execute(_LIST, (scope, owner, at_ms, limit)).fetchall()
        return [_told(db, row) for row in map(FactRow._make, rows)]
    finally:
        db.execute("ROLLBACK")


def find_fact_row(db: sqlite3.Connection, key: FactKey) -> FactRow | None:
    """Return the row of a fact."""
    found: tuple[Any, ...] | None = db.execute(_ROW, key).fetchone()
    return None if found is None else FactRow._make(found)


def _fact(db: sqlite3.Connection, row: FactRow | None, at_ms: int) -> Fact | None:
    return _told(db, row) if row is not None and row.holds(at_ms) else None


def _told(db: sqlite3.Connection, row: FactRow) -> Fact:
    if db.execute(_LAST, row.key).fetchone() != (row.seq,):
        raise contradicted(row)
    return fact_from(row, find_told(db, row.seq))


def _version(row: FactRow | None, at_ms: int) -> int:
    return row.version if row is not None and row.holds(at_ms) else 0


def _count(db: sqlite3.Connection, put: FactPut) -> int:
    count: int = db.execute(_COUNT, (put.key.scope, put.key.owner, put.at_ms)).fetchone()[0]
    return count
