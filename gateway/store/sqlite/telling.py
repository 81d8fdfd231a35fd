"""The rows that events tell of, as the database has them."""

import sqlite3
from collections.abc import Iterator

from gateway.store.row_events import adopted
from gateway.store.sqlite.transaction import Transaction
from gateway.store.told_rows import TOLD_COLUMNS, TableRow, row_in

__all__ = ["adopt_rows", "told_rows"]


def told_rows(db: sqlite3.Connection) -> Iterator[TableRow]:
    """Yield every row that has to be told of."""
    for table, columns in TOLD_COLUMNS.items():
        for values in db.execute(f"SELECT {columns} FROM {table} ORDER BY rowid"):  # noqa: S608 - constant names
            yield row_in(table, values)


def adopt_rows(tx: Transaction, at_ms: int) -> None:
    """Take the rows there are as they are, where there are any: no event of an earlier version told of them."""
    rows = list(told_rows(tx.db))
    if rows:
        tx.append(*adopted(rows, at_ms))
