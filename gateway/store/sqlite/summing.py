"""The sums of a database: kept by each transaction, held against the rows by the audit."""

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from gateway.store.sums import NOTHING, Sum, SumKey, rows_changed, short
from gateway.store.told_rows import row_name

__all__ = ["INDEXES", "Changes", "Sums"]

INDEXES: Final = "SELECT name, tbl_name, sql FROM sqlite_master WHERE name LIKE 'steps\\_%' ESCAPE '\\'"
"""The indexes that the gateway itself adds."""

_ROWS: Final = {
    "sessions": "SELECT id, seen_ms, body FROM sessions",
    "sightings": "SELECT agent, known, last_seen_ms, client_name, client_version, calls, refused, tools FROM sightings",
    "calls": (
        "SELECT call_id, delivered FROM calls WHERE claim_seq > :after AND claim_seq <= :upto AND delivered IS NOT 0"
    ),
    "migrations": "SELECT number, name, at_ms FROM migrations",
    "sqlite_master": INDEXES,
}
"""By table, what is summed of it: of calls, what was delivered; of the schema, the gateway's own indexes."""

_ALL: Final = "SELECT name, kept, seal FROM sums ORDER BY name"
_READ: Final = "SELECT kept, seal FROM sums WHERE name = ?"
_MOVE: Final = "UPDATE sums SET kept = ?, seal = ? WHERE name = ? AND seal = ?"
_TAKE: Final = "INSERT INTO sums (name, kept, seal) VALUES (?, ?, ?)"

Changes = dict[str, Sum]
"""By table, what a transaction adds to its sum."""


class Sums:
    """Keeps the sums of one database under a key. What others made of them meanwhile is read again."""

    def __init__(self, key: bytes = b"") -> None:
        self.key = SumKey(key)
        self._known: dict[str, tuple[str, Sum]] = {}

    def change(
        self, changes: Changes, table: str, before: tuple[Any, ...] | None, after: tuple[Any, ...] | None
    ) -> None:
        """Have the sum of a table follow a row that was `before` and is `after`; None: there is no such row."""
        if before == after:
            return
        change = changes.get(table, NOTHING)
        if before is not None:
            change = change.less(self.key.of(table, [before]))
        if after is not None:
            change = change.plus(self.key.of(table, [after]))
        changes[table] = change

    def write(self, db: sqlite3.Connection, changes: Changes) -> None:
        """Write what was changed. Raises `LedgerTampered` where a sum is not one that this gateway wrote."""
        for table, change in changes.items():
            known = self._known.get(table)
            if known is None or not self._move(db, table, known, change):
                self._move(db, table, self._read(db, table), change)

    def sum_up(self, db: sqlite3.Connection, changes: Changes, upto: int) -> None:
        """Have the sum of calls hold for those too that were claimed up to this event."""
        change = changes.get("calls", NOTHING)
        after = max(change.upto, self._read(db, "calls")[1].upto)
        changes["calls"] = change.plus(self.key.of("calls", _rows(db, "calls", upto, after))._replace(upto=upto))

    def take(self, db: sqlite3.Connection) -> None:
        """Sum the rows as they are."""
        db.execute("DELETE FROM sums")
        [(upto,)] = db.execute("SELECT coalesce(max(claim_seq), 0) FROM calls").fetchall()
        for table in _ROWS:
            kept = str(self.key.of(table, _rows(db, table, upto))._replace(upto=upto))
            db.execute(_TAKE, (table, kept, self.key.seal(table, kept)))

    def check(self, db: sqlite3.Connection) -> None:
        """Hold every row there is against the sums. Raises `RowsChanged`, naming the row."""
        kept = {name: (text, seal) for name, text, seal in db.execute(_ALL)}
        others = [table for table in _ROWS if not self._is_ours(table, *kept.get(table, ("", "")))]
        if len(others) == len(_ROWS):
            raise rows_changed("every row of sums, as it would be under another key (identity.local_key),")
        for table in others:
            raise rows_changed(f"the row {table} of sums")
        for table in _ROWS:
            text, _ = kept.pop(table)
            was = _parsed(text)
            found = self.key.of(table, _rows(db, table, was.upto))._replace(upto=was.upto)
            if found != was:
                raise rows_changed(_odd(table, found, was, _rows(db, table, was.upto)))
        for table in kept:
            raise rows_changed(f"the row {table} of sums")

    def _is_ours(self, table: str, kept: str, seal: str) -> bool:
        return seal == self.key.seal(table, kept)

    def _move(self, db: sqlite3.Connection, table: str, known: tuple[str, Sum], change: Sum) -> bool:
        moved = known[1].plus(change)
        kept = str(moved)
        seal = self.key.seal(table, kept)
        self._known[table] = seal, moved
        return bool(db.execute(_MOVE, (kept, seal, table, known[0])).rowcount)

    def _read(self, db: sqlite3.Connection, table: str) -> tuple[str, Sum]:
        kept, seal = db.execute(_READ, (table,)).fetchone() or ("", "")
        if not self._is_ours(table, kept, seal):
            raise rows_changed(f"the row {table} of sums")
        return seal, _parsed(kept)


def _rows(db: sqlite3.Connection, table: str, upto: int, after: int = 0) -> Iterable[tuple[Any, ...]]:
    return db.execute(_ROWS[table], {"after": after, "upto": upto})


def _parsed(text: str) -> Sum:
    upto, rows, total, placed = text.split()
    return Sum(int(upto), int(rows), int(total, 16), int(placed, 16))


def _odd(table: str, found: Sum, kept: Sum, rows: Iterable[tuple[Any, ...]]) -> str:
    """Say what is odd about a table."""
    name = found.odd_one(kept)
    if name is None:
        return f"more than one row of {table}, where there are {found.rows} rows and were {kept.rows},"
    is_there = any(short(row_name(table, row)) == name for row in rows)
    return f"the row {name} of {table}" if is_there else f"{table}, where the row {name} is missing,"
