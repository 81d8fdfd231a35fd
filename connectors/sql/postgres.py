"""PostgreSQL: reads in read-only transactions, one statement at a time, never more rows than asked for."""

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from connectors.sql.database import Column, Written
from connectors.sql.reading import Reading
from connectors.sql.rows import Limits, Rows
from connectors.sql.wording import Wording
from gateway.connector import ConnectorFault, CredentialExpired, Rejected, Secret, TimedOut, Unavailable, dump, plain

if TYPE_CHECKING:
    import asyncpg

__all__ = ["PostgresDatabase", "must_encrypt"]

_BATCH: Final = 20
_END_S: Final = 3.0
_CONNECT_S: Final = 10.0
_LOCAL: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})
_AS_TEXT: Final = ("numeric", "date", "time", "timetz", "timestamp", "timestamptz", "interval")
_SESSION: Final = {
    "application_name": "toolgate",
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "standard_conforming_strings": "on",
}
_NATIVE: Final = frozenset(
    {"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "bpchar", "name", "bytea", "json", "jsonb"}
    | {"uuid", "xml"}
)
"""Types that the driver gives without loss, also in arrays; the server writes all others as text."""
_GUARDED: Final = """SELECT {shown} FROM (SELECT * FROM ({sql}) AS _toolgate_read LIMIT {rows})
AS _toolgate_row ({names}) WHERE CASE WHEN octet_length(_toolgate_row::text) <= {bytes} THEN true
ELSE ('toolgate-too-large-' || octet_length(_toolgate_row::text))::boolean END"""
"""One row may be a gigabyte, which a driver takes whole: the server looks at its size before it sends it."""
_TIMESTAMP: Final = re.compile(r"(?P<date>[0-9]{4,}-[0-9-]{5}) (?P<time>[0-9:.]+)(?P<zone>[+-][0-9:]+)?")
_TOO_LARGE: Final = "toolgate-too-large-"
_MIGHTY: Final = """
    SELECT rolsuper OR pg_has_role('pg_read_server_files', 'MEMBER') OR pg_has_role('pg_write_server_files', 'MEMBER')
        OR pg_has_role('pg_execute_server_program', 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = current_user
"""
_REFUSED_COMMIT: Final = frozenset({"23", "25", "40", "42", "P0"})
"""Classes of SQLSTATE with which a server answers a COMMIT that it did not carry out: the transaction itself failed."""
_COLUMNS: Final = """
    SELECT CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END,
        CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' WHEN 'f' THEN 'foreign table' ELSE 'table' END,
        a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey))
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
        AND has_column_privilege(c.oid, a.attnum, 'SELECT')
    ORDER BY 1, a.attnum LIMIT $1
"""


class PostgresDatabase:
    """One PostgreSQL database. Connections for writing are made only when something writes."""

    def __init__(self, url: str, password: Secret | None, connections: int, *, allow_superuser: bool) -> None:
        self._url = url
        self._password = password
        self._connections = connections
        self._allow_superuser = allow_superuser
        self._pools: dict[bool, asyncpg.Pool] = {}

    async def open(self) -> None:
        for writes in (False, True):
            self._pools[writes] = await self._pool(writes=writes)
        async with _answering(_CONNECT_S), _transaction(self._taken(writes=False), readonly=True) as connection:
            mighty = await connection.fetchval(_MIGHTY)
        if mighty and not self._allow_superuser:
            raise Rejected(
                "The PostgreSQL role can reach the server's files or programs. Use a role without such rights: "
                "CREATE ROLE agent LOGIN; GRANT pg_read_all_data TO agent; (or set allow_superuser: true)."
            )

    async def close(self) -> None:
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.terminate()
        for _ in range(2):  # a terminated connection closes its socket in the loop's next round
            await asyncio.sleep(0)

    async def read(self, reading: Reading, values: Mapping[str, Any], limits: Limits) -> Rows:
        wording, names = reading.wording, _order(reading.wording, values)
        pool = self._taken(writes=False)
        async with _answering(limits.seconds), _transaction(pool, readonly=True) as connection:
            asked = await connection.prepare(wording.numbered({name: f"${n}" for n, name in enumerate(names, 1)}))
            kinds = [each.name for each in asked.get_parameters()]
            sql = wording.numbered(_as_text(names, kinds))
            columns = [_Plan.of_explain()] if reading.explains else [_Plan.of(each) for each in asked.get_attributes()]
            if not columns:
                raise Rejected("The statement has no columns.")
            run = await connection.prepare(f"EXPLAIN {sql}" if reading.explains else _guarded(sql, columns, limits))
            return await _fetched(run, columns, _bound(names, kinds, values), limits)

    async def write(self, wording: Wording, values: Mapping[str, Any], limits: Limits) -> Written:
        names = _order(wording, values)
        pool = self._taken(writes=True)
        async with _answering(limits.seconds) as limit, _transaction(pool, readonly=False) as connection:
            statement = await connection.prepare(wording.numbered({name: f"${n}" for n, name in enumerate(names, 1)}))
            bound = _bound(names, [each.name for each in statement.get_parameters()], values)
            columns = [_Plan.of(each) for each in statement.get_attributes()]
            if columns:
                rows = await _fetched(statement, columns, bound, replace(limits, to_the_end=True))
                written = Written(rows.seen, rows)
            else:
                await statement.fetch(*bound)
                written = Written(_affected(statement.get_statusmsg()), Rows(limits))
            limit.reschedule(None)  # the commit has a limit of its own: stopped there, it may have happened
            return written

    async def columns(self, limit: int) -> Sequence[Column]:
        pool = self._taken(writes=False)
        async with _answering(_CONNECT_S), _transaction(pool, readonly=True) as connection:
            return [Column(*row) for row in await connection.fetch(_COLUMNS, limit)]

    def _taken(self, *, writes: bool) -> "asyncpg.Pool":
        if writes not in self._pools:
            raise Unavailable("The database is not open.", sent=False)
        return self._pools[writes]

    async def _pool(self, *, writes: bool) -> "asyncpg.Pool":
        try:
            import asyncpg
        except ImportError:
            raise Unavailable("PostgreSQL needs a driver: pip install 'toolgate[postgres]'", sent=False) from None
        more: dict[str, Any] = {"password": self._password.reveal()} if self._password else {}
        if must_encrypt(self._url):
            more["ssl"] = ssl.create_default_context()
        return await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._connections,
            timeout=_CONNECT_S,
            statement_cache_size=0,  # a pooler between may give every statement another connection
            server_settings={**_SESSION, "default_transaction_read_only": "off" if writes else "on"},
            init=_texts if writes else None,
            **more,
        )


def must_encrypt(url: str) -> bool:
    """Tell whether the server is on another machine and the URL leaves open how it is reached."""
    parts = urlsplit(url)
    said = parse_qs(parts.query)
    hosts = [parts.hostname or "", *said.get("host", ())]
    near = all(host in _LOCAL or host.startswith("/") for host in hosts)
    return not near and not {"sslmode", "ssl"} & said.keys()


async def _texts(connection: "asyncpg.Connection") -> None:
    """Have types whose Python form would lose something come as text: no SQL can be put around a write to that end."""
    for name in _AS_TEXT:
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=str, format="text")


def _iso_8601(text: str | None) -> str | None:
    found = _TIMESTAMP.fullmatch(text or "")
    if found is None:
        return text
    zone = found["zone"] or ""
    return f"{found['date']}T{found['time']}{zone}{':00' if len(zone) == len('+00') else ''}"


@asynccontextmanager
async def _transaction(pool: "asyncpg.Pool", *, readonly: bool) -> "AsyncIterator[asyncpg.Connection]":
    """Lend a connection in a transaction, which is committed if it may write, else undone: in seconds, in any case."""
    connection = await pool.acquire()
    transaction = connection.transaction(readonly=readonly)
    try:
        await transaction.start()
        try:
            yield connection
        except BaseException:
            await _undone(connection, transaction)
            raise
        await (_undone if readonly else _committed)(connection, transaction)  # large objects ignore READ ONLY before 16
    finally:
        await _given_back(pool, connection)


async def _given_back(pool: "asyncpg.Pool", connection: "asyncpg.Connection") -> None:
    """Return a connection to its pool, which drops one that is broken: that says nothing of what was done over it."""
    import asyncpg

    try:
        await pool.release(connection, timeout=_END_S)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return


async def _undone(connection: "asyncpg.Connection", transaction: Any) -> None:
    """Roll back; a server that does not answer loses the connection, and rolls back by itself."""
    import asyncpg

    try:
        async with asyncio.timeout(_END_S):
            await transaction.rollback()
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        _drop(connection)


def _drop(connection: "asyncpg.Connection") -> None:
    """Close a connection without a word; one that was lost has left its pool, and cannot be closed again."""
    import asyncpg

    try:
        connection.terminate()
    except asyncpg.InterfaceError:
        return


async def _committed(connection: "asyncpg.Connection", transaction: Any) -> None:
    """Commit; only here is it possible that nobody knows whether something was changed."""
    import asyncpg

    try:
        async with asyncio.timeout(_END_S):
            await transaction.commit()
    except TimeoutError:
        _drop(connection)
        raise TimedOut("The database did not confirm the change in time.") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if isinstance(error, asyncpg.PostgresError) and str(error.sqlstate)[:2] in _REFUSED_COMMIT:
            raise
        _drop(connection)
        text = "The connection to the database was lost before it confirmed the change."
        raise Unavailable(text, detail=type(error).__name__) from error


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one column of a result is read. `cast` is what the server makes of it, empty where it comes as it is."""

    name: str
    type: str
    cast: str = ""

    @classmethod
    def of(cls, column: "asyncpg.Attribute") -> "_Plan":
        element, brackets, _ = column.type.name.partition("[]")
        if element in _NATIVE:
            return cls(column.name, column.type.name)
        return cls(column.name, column.type.name, f"::text{brackets if element in _AS_TEXT else ''}")

    @classmethod
    def of_explain(cls) -> "_Plan":
        return cls("plan", "text")

    def shown(self, value: Any) -> Any:
        """Return the value, a timestamp in ISO 8601."""
        if not self.type.startswith("timestamp"):
            return value
        return [self.shown(each) for each in value] if isinstance(value, list) else _iso_8601(value)


def _guarded(sql: str, columns: Sequence[_Plan], limits: Limits) -> str:
    """Return the read with its limits within it. Its columns have numbers for names: two may be called the same."""
    names = [f"c{number}" for number, _ in enumerate(columns)]
    shown = [f"{name}{column.cast}" for name, column in zip(names, columns, strict=True)]
    return _GUARDED.format(
        sql=sql, shown=", ".join(shown), names=", ".join(names), rows=limits.rows + 1, bytes=limits.bytes
    )


async def _fetched(statement: Any, columns: Sequence[_Plan], values: Sequence[Any], limits: Limits) -> Rows:
    """Return the statement's rows within the limits."""
    rows = Rows(limits)
    rows.columns([each.name for each in columns], [each.type for each in columns])
    cursor = await statement.cursor(*values)
    fits = True
    while batch := await cursor.fetch(_BATCH):
        shown = ([plan.shown(value) for plan, value in zip(columns, row, strict=True)] for row in batch)
        rows.seen += len(batch)
        fits = fits and all(rows.add(row) for row in shown)
        if not fits and not limits.to_the_end:
            break
    return rows


def _order(wording: Wording, values: Mapping[str, Any]) -> Sequence[str]:
    """Return the parameters that have a value, in the order of their numbers."""
    return [name for name in wording.parameters if name in values]


def _as_text(names: Sequence[str], kinds: Sequence[str]) -> Mapping[str, str]:
    """Return how each parameter is written where the server is to read its text: as the driver would not take it."""
    places = {}
    for number, (name, kind) in enumerate(zip(names, kinds, strict=True), 1):
        element, brackets, _ = kind.partition("[]")
        places[name] = f"${number}::text{brackets}::{kind}" if element in _AS_TEXT else f"${number}"
    return places


def _bound(names: Sequence[str], kinds: Sequence[str], values: Mapping[str, Any]) -> list[Any]:
    return [_typed(name, kind, values[name]) for name, kind in zip(names, kinds, strict=True)]


def _typed(name: str, kind: str, value: Any) -> Any:
    """Return a JSON value as the driver takes it for a parameter of that type."""
    if value is None:
        return None
    if kind.endswith("[]") and isinstance(value, list):
        return [_typed(name, kind.removesuffix("[]"), item) for item in value]
    if kind in {"json", "jsonb"}:
        return value if isinstance(value, str) else dump(value).decode()
    if kind in _AS_TEXT and not isinstance(value, bool | list | dict):
        return str(value)
    if kind != "bytea":
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise Rejected(f"The parameter {name!r} takes bytes, written as base64.") from None


def _affected(status: str | None) -> int:
    """Return how many rows a command's status counts: `INSERT 0 3`, `UPDATE 3`."""
    count = (status or "").rpartition(" ")[2]
    return int(count) if count.isdigit() else 0


@asynccontextmanager
async def _answering(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Bound what is done within, and say in the gateway's words what went wrong. Nothing of it was committed."""
    import asyncpg

    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield limit
    except TimeoutError as error:
        if limit.expired():
            raise _too_slow(seconds) from error
        raise Unavailable("The database server does not answer.", sent=False) from error
    except asyncpg.PostgresError as error:
        raise _refusal(error, seconds) from None
    except asyncpg.UnsupportedClientFeatureError:
        raise Rejected("A column has a type that cannot be shown: cast it to text.") from None
    except (OSError, asyncpg.InterfaceError) as error:
        raise Unavailable("The database server cannot be reached.", detail=type(error).__name__, sent=False) from error


def _too_slow(seconds: float) -> ConnectorFault:
    return Rejected(f"The statement took longer than {seconds:g} s and was stopped. Nothing was changed.")


def _refusal(error: "asyncpg.PostgresError", seconds: float) -> ConnectorFault:
    """Return the fault for an error that the server answered with (its SQLSTATE: PostgreSQL manual, appendix A)."""
    state = str(error.sqlstate or "")
    said = plain(error)
    if state.startswith("28"):
        return CredentialExpired("PostgreSQL does not accept the gateway's user or password.", detail=state)
    if state == "57014":
        return _too_slow(seconds)
    if state.startswith(("08", "53", "57P")) or not state:
        return Unavailable("The database server is not available.", detail=said, sent=False)
    if state.startswith("40"):
        return Rejected("Another transaction was in the way. Nothing was changed; the call may be made again.")
    if state == "25006":
        return Rejected("The statement does more than read; it was refused by the connection.", detail=said)
    if _TOO_LARGE in said:
        return Rejected("A row of the result is larger than the limit: leave out large columns, or take parts of them.")
    return Rejected(f"The database refused the statement: {said}.", detail=state)
