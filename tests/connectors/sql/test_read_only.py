"""A write in any disguise is refused: by the parser, and by the connection where the parser is not asked."""

import hashlib
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from connectors.sql.postgres import PostgresDatabase
from connectors.sql.reading import Reading, allowed_functions
from connectors.sql.rows import Limits
from connectors.sql.sqlite import SqliteDatabase
from connectors.sql.wording import Wording
from gateway.connector import ConnectorFault, Rejected
from tests.connectors.sql.conftest import Asked, asked
from tests.connectors.sql.disguises import BOTH, POSTGRES, SQLITE
from tests.connectors.sql.server import PostgresServer

LIMITS = Limits(100, 100_000, 5.0)
_STATE = """
SELECT (SELECT array_agg(a::text ORDER BY id) FROM accounts a), (SELECT count(*) FROM own.notes),
    (SELECT last_value || ':' || is_called FROM numbers), (SELECT count(*) FROM pg_largeobject_metadata),
    (SELECT string_agg(oid || relname || coalesce(relacl::text, ''), ',' ORDER BY oid) FROM pg_class
        WHERE relnamespace <> 'pg_toast'::regnamespace AND relkind <> 'i'),
    (SELECT string_agg(proname, ',' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
    (SELECT string_agg(rolname || rolsuper, ',' ORDER BY oid) FROM pg_roles),
    (SELECT count(*) FROM pg_extension), (SELECT count(*) FROM pg_description WHERE objoid = 'accounts'::regclass),
    (SELECT count(*) FROM pg_locks WHERE locktype IN ('advisory', 'tuple'))
"""


def unchecked(sql: str) -> Reading:
    """Whatever it is, dressed as something that the parser let through."""
    return Reading(Wording((("word", sql),)))


async def refusal(database: Asked, sql: str) -> str:
    """Return why the statement was refused, empty if it was not."""
    try:
        await database.call("query", sql=sql)
    except Rejected as refused:
        return refused.message
    return ""


def state_of(file: Path) -> Any:
    here = sorted(name for name in os.listdir() if not name.startswith(".coverage"))  # as other processes measure
    names = sorted(os.listdir(file.parent)), here
    return names, hashlib.sha256(file.read_bytes()).hexdigest()


async def rows_of(server: PostgresServer) -> Any:
    connection = await asyncpg.connect(server.url("root"))
    try:
        return [tuple(row) for row in await connection.fetch(_STATE)], sorted(os.listdir(server.folder))
    finally:
        await connection.close()


async def test_sqlite_refuses_every_disguise_and_its_file_stays_as_it_was(lite: Asked, file: Path) -> None:
    before = state_of(file)
    for sql in dict.fromkeys(BOTH + SQLITE):
        assert await refusal(lite, sql), f"accepted: {sql[:200]!r}"
    assert state_of(file) == before
    assert await lite.value("SELECT count(*) FROM accounts") == 3


async def test_postgres_refuses_every_disguise_and_its_rows_stay_as_they_were(
    large: Asked, shop: PostgresServer
) -> None:
    before = await rows_of(shop)
    for sql in dict.fromkeys(BOTH + POSTGRES):
        assert await refusal(large, sql), f"accepted: {sql[:200]!r}"
    assert await rows_of(shop) == before
    assert await large.value("SELECT count(*) FROM accounts") == 3


async def test_a_sqlite_connection_for_reads_cannot_write_whatever_it_is_given(file: Path) -> None:
    database = SqliteDatabase(file, allowed_functions("sqlite"))
    before = state_of(file)
    for sql in dict.fromkeys(BOTH + SQLITE):
        with suppress(Rejected, ValueError):  # ValueError: the driver cannot take NUL and surrogates at all
            await database.read(unchecked(sql), {}, LIMITS)
        assert state_of(file) == before, sql


async def test_a_postgres_connection_for_reads_cannot_write_whatever_it_is_given(shop: PostgresServer) -> None:
    database = PostgresDatabase(shop.url(), None, 1, allow_superuser=False)
    await database.open()
    before = await rows_of(shop)
    try:
        for sql in dict.fromkeys(BOTH + POSTGRES):
            if "\0" in sql or any(word in sql for word in ("sleep", "1000000000", "pg_advisory")):
                continue  # no text, or no write: only the parser refuses these
            for given in (unchecked(sql), Reading(Wording((("word", f" {sql}"),)), explains=True)):
                with suppress(Rejected, UnicodeEncodeError):
                    await database.read(given, {}, LIMITS)
        assert await rows_of(shop) == before
    finally:
        await database.close()


@pytest.mark.parametrize("sql", ["SELECT empty_accounts()", "SELECT nextval('numbers')"])
async def test_a_function_that_writes_is_stopped_by_the_connection_though_an_operator_listed_it(
    sql: str, shop: PostgresServer
) -> None:
    made = asked(shop.url(), functions=["empty_accounts", "nextval"])
    await made.upstream.open()
    before = await rows_of(shop)
    with pytest.raises(Rejected, match="refused by the connection"):
        await made.rows(sql)
    await made.upstream.close()
    assert await rows_of(shop) == before


async def test_what_a_session_was_set_to_is_forgotten_by_the_next_statement(shop: PostgresServer) -> None:
    made = asked(shop.url(), functions=["set_config", "empty_accounts", "current_setting"], connections=1)
    await made.upstream.open()
    try:
        await made.rows("SELECT set_config('default_transaction_read_only', 'off', false)")
        assert await made.value("SELECT current_setting('default_transaction_read_only')") == "on"
        with pytest.raises(Rejected):
            await made.rows("SELECT set_config('transaction_read_only', 'off', true), empty_accounts()")
    finally:
        await made.upstream.close()


async def test_a_role_that_can_reach_files_is_refused_unless_allowed(shop: PostgresServer) -> None:
    refused = asked(shop.url("root"))
    with pytest.raises(Rejected, match="files or programs"):
        await refused.upstream.open()
    await refused.upstream.close()
    allowed = asked(shop.url("root"), allow_superuser=True)
    await allowed.upstream.open()
    before = await rows_of(shop)
    for sql in POSTGRES:
        with pytest.raises(Rejected):
            await allowed.call("query", sql=sql)
    assert await rows_of(shop) == before
    await allowed.upstream.close()


READS = (
    "SELECT owner, count(*) FROM accounts WHERE id IN (1, 2) GROUP BY owner HAVING count(*) > 0 ORDER BY (owner) DESC",
    "SELECT * FROM accounts AS a JOIN owners AS o USING (owner) WHERE EXISTS (SELECT 1) AND NOT (a.id = 7)",
    "WITH a(b) AS (SELECT id FROM accounts), c AS (VALUES (1, 2)) SELECT * FROM a, c",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n",
    "SELECT id, sum(id) OVER (PARTITION BY owner ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM accounts",
    "SELECT count(*) FILTER (WHERE id > 1), coalesce(max(id), 0), CAST(1 AS numeric(10, 2)) FROM accounts",
    "SELECT 1 UNION ALL SELECT * FROM (SELECT 2) AS two EXCEPT SELECT 3",
    "VALUES (1, 'a'), (2, 'b');",
    "EXPLAIN SELECT * FROM accounts",
    "SELECT 'DELETE FROM accounts; -- it''s only text /* */ $$' AS said, \"owner\" FROM accounts LIMIT 1",
    "SELECT lower('ÄÖ'), length('日本'), replace('a', 'a', 'b'), round(1.5), abs(-1)",
    "SELECT CASE WHEN (id = 1) THEN 'one' ELSE (SELECT 'more') END FROM accounts",
)


@pytest.mark.parametrize("sql", READS)
async def test_reads_are_let_through_by_both(sql: str, lite: Asked, large: Asked) -> None:
    assert await lite.rows(sql)
    assert await large.rows(sql)


async def test_postgres_keeps_its_own_ways_of_reading(large: Asked) -> None:
    sql = """SELECT DISTINCT ON (a.id) a.id::int, (ARRAY[1, 2, 3])[1:2] AS b, extract(year FROM date '2024-02-03'),
        position('a' IN 'ba'), substring('abc' FROM 1 FOR 2), date_trunc('day', timestamp '2024-02-03 04:05'),
        '{"x": {"y": 1}}'::jsonb #>> '{x,y}', g.n, interval '1 day', pg_catalog.upper('a'), trim(both ' ' from ' a ')
        FROM accounts a CROSS JOIN LATERAL generate_series(1, 2) AS g(n) WHERE owner ILIKE 'a%' AND id = ANY (:ids)
        ORDER BY (a.id) FETCH FIRST 3 ROWS ONLY"""
    (row,) = await large.rows(sql, ids=[1, 2])
    assert (row["b"], row["date_trunc"], row["upper"]) == ([1, 2], "2024-02-03T00:00:00", "A")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1 FROM", r"cannot be read as SQL \(line 1"),
        ("SELECT * FROM accounts WHERE", "cannot be read as SQL"),
        ("WITH a AS (SELECT 1)", "cannot be read|Only SELECT"),
    ],
)
async def test_what_is_no_sql_is_refused_with_its_place(sql: str, said: str, lite: Asked) -> None:
    with pytest.raises(Rejected, match=said):
        await lite.rows(sql)


async def test_sqlite_reads_json_and_catalogs(lite: Asked) -> None:
    assert await lite.value("SELECT sum(value) FROM json_each(:ids)", ids=[1, 2]) == 3
    assert await lite.value("SELECT count(*) FROM sqlite_master WHERE type = 'table'") == 1


def test_the_table_of_disguises_is_large() -> None:
    assert min(len(set(BOTH + POSTGRES)), len(set(BOTH + SQLITE))) >= 60


async def test_a_file_is_not_made_by_reading_it(tmp_path: Path) -> None:
    missing = asked(f"sqlite:///{tmp_path}/missing.db")
    with pytest.raises(ConnectorFault) as caught:
        await missing.upstream.open()
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)
    assert not (tmp_path / "missing.db").exists()


async def test_reading_a_file_in_wal_mode_changes_none_of_its_rows(file: Path) -> None:
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with writer:
            writer.execute("UPDATE accounts SET balance = '7' WHERE id = 1")
        made = asked(f"sqlite:///{file}")
        assert await made.value("SELECT balance FROM accounts WHERE id = 1") == "7"
        with pytest.raises(Rejected):
            await made.rows("DELETE FROM accounts")
