"""SQLite: a connection for each statement, in a thread of its own, that for reads cannot write by any means."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

from connectors.sql.database import Column, Written
from connectors.sql.reading import Reading
from connectors.sql.rows import Limits, Rows
from connectors.sql.wording import Wording
from gateway.connector import ConnectorFault, Rejected, Unavailable, dump, plain

__all__ = ["SqliteDatabase"]

_T = TypeVar("_T")
_STEPS: Final = 1000  # virtual machine steps between two looks at whether to stop: well under a millisecond
_BUSY_S: Final = 2.0
_READS: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_JSON_TABLES: Final = "SELECT 1 FROM json_each('[]'), json_tree('[]')"
"""Makes them known to a connection, which looks like a write to an authorizer."""
_COLUMNS: Final = """
    SELECT t.name, t.type, c.name, c.type, c."notnull", c.pk FROM pragma_table_list AS t
    JOIN pragma_table_xinfo(t.name) AS c
    WHERE t.schema = 'main' AND t.type IN ('table', 'view', 'virtual') AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    AND c.hidden IN (0, 2, 3) ORDER BY t.name, c.cid LIMIT ?
"""


class SqliteDatabase:
    """One SQLite file. `functions` are those that a read may call."""

    def __init__(self, path: Path, functions: Collection[str]) -> None:
        self._path = path
        self._functions = frozenset(functions)

    async def open(self) -> None:
        await self.columns(1)

    async def close(self) -> None:
        """Nothing stays open between statements."""

    async def read(self, reading: Reading, values: Mapping[str, Any], limits: Limits) -> Rows:
        sql = f"EXPLAIN QUERY PLAN {reading.wording.sql}" if reading.explains else reading.wording.sql

        def work(stop: threading.Event) -> Rows:
            with closing(self._reader(limits.bytes, stop)) as connection:
                return _rows(connection.execute(sql, _bound(values)), limits)

        return await self._in_time(work, limits.seconds)

    async def write(self, wording: Wording, values: Mapping[str, Any], limits: Limits) -> Written:
        def work(stop: threading.Event) -> Written:
            with closing(self._connect("rw", limits.bytes, stop)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                cursor = connection.execute(wording.sql, _bound(values))
                rows = _rows(cursor, limits)
                cursor.fetchall()  # a statement with RETURNING ends, and counts, when its last row is taken
                written = Written(max(cursor.rowcount, 0), rows)
                connection.execute("COMMIT")
                return written

        return await self._in_time(work, limits.seconds)

    async def columns(self, limit: int) -> Sequence[Column]:
        def work(stop: threading.Event) -> list[Column]:
            with closing(self._connect("ro", 1_000_000, stop)) as connection:
                found = connection.execute(_COLUMNS, (limit,)).fetchall()
            return [Column(t, kind, name, of, not required, bool(key)) for t, kind, name, of, required, key in found]

        return await self._in_time(work, _BUSY_S * 2)

    async def _in_time(self, work: Callable[[threading.Event], _T], seconds: float) -> _T:
        """Do the work in a thread; told to stop, by its time or by its caller, it has ended when this returns."""
        stop = threading.Event()
        running = asyncio.ensure_future(asyncio.to_thread(work, stop))
        try:
            ended, _ = await asyncio.wait({running}, timeout=seconds)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({running})
            running.exception()  # it was asked for: nobody is to be told
            raise
        if not ended:
            stop.set()
            await asyncio.wait({running})
        try:
            return running.result()
        except (sqlite3.Error, OverflowError, RecursionError) as error:
            raise _fault(error, stopped=stop.is_set(), seconds=seconds) from None

    def _reader(self, most_bytes: int, stop: threading.Event) -> sqlite3.Connection:
        connection = self._connect("ro", most_bytes, stop)
        connection.execute("PRAGMA query_only = ON")
        connection.execute(_JSON_TABLES)
        connection.set_authorizer(self._authorize)
        return connection

    def _connect(self, mode: str, most_bytes: int, stop: threading.Event) -> sqlite3.Connection:
        """Connect to the file as it is: none is made."""
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
        connection.text_factory = _text
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most_bytes)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.set_progress_handler(stop.is_set, _STEPS)
        return connection

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action in _READS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in self._functions:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY


def _rows(cursor: sqlite3.Cursor, limits: Limits) -> Rows:
    rows = Rows(limits)
    rows.columns([column[0] for column in cursor.description or ()])
    for row in cursor:
        if not rows.add(row):
            break
    return rows


def _bound(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values as the driver takes them: lists and objects as JSON text."""
    return {name: dump(value).decode() if isinstance(value, list | dict) else value for name, value in values.items()}


def _text(raw: bytes) -> Any:
    """Text that is no UTF-8 is given as the bytes that it is."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _fault(error: Exception, *, stopped: bool, seconds: float) -> ConnectorFault:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if stopped and code == sqlite3.SQLITE_INTERRUPT:
        return Rejected(f"The statement took longer than {seconds:g} s and was stopped. Nothing was changed.")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Unavailable("The database is in use; nothing was done.", retry_after_s=1.0, sent=False)
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT}:
        return Unavailable("The database file cannot be read.", detail=plain(error), sent=False)
    if code in {sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY}:
        return Rejected("The statement does more than read; it was refused by the connection.", detail=plain(error))
    return Rejected(f"The database refused the statement: {plain(error)}.", detail=type(error).__name__)
