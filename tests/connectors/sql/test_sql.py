"""The `sql` connector on both databases: exact values, limits, declared statements, cancelling, faults."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from connectors.rest.reading import INCOMPLETE
from connectors.sql import SqlConnector
from connectors.sql.rows import exact
from gateway.connector import ConnectorFault, CredentialExpired, Effect, Rejected, TimedOut, ToolCall, Unavailable
from gateway.connector.testing import check_connector
from tests.connectors.sql.conftest import Asked, asked
from tests.connectors.sql.server import PASSWORD, PostgresServer

COUNT_FOR_EVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
STATEMENTS: dict[str, Any] = {
    "balance": {
        "sql": "SELECT owner, balance FROM accounts WHERE id = :id",
        "effect": "read",
        "description": "The balance of one account.",
        "parameters": {"id": {"type": "integer"}},
    },
    "rename": {
        "sql": "UPDATE accounts SET owner = :owner WHERE id >= :id",
        "effect": "write",
        "idempotent": True,
        "undo": "rename",
        "parameters": {"id": {"type": "integer", "default": 3}, "owner": {"type": "string"}},
    },
    "add": {
        "sql": "INSERT INTO accounts VALUES (:id, :owner, :balance) RETURNING id, balance",
        "effect": "irreversible",
        "parameters": {"id": {}, "owner": {}, "balance": {}},
    },
}
TIMES = """SELECT timestamptz '2024-02-03 04:05:06.000001+02' AS a, timestamp '2024-02-03 04:05:06' AS b,
    timestamp '-infinity' AS c, date '0044-03-15 BC' AS d, interval '1 month 2 days' AS e, time '04:05:06.5' AS f,
    array[timestamptz '2024-02-03 04:05:06+00', NULL] AS g"""


async def test_how_much_was_answered_is_told(lite: Asked) -> None:
    call = ToolCall("query", {"sql": "SELECT 1 AS one"}, "call_1", 20.0)
    result = await lite.upstream.call(call)
    assert (call.measure.status, call.measure.received) == (None, len(result["content"][0]["text"]))


async def test_postgres_values_lose_nothing(large: Asked) -> None:
    (row,) = await large.rows(TIMES)
    assert row == {
        "a": "2024-02-03T02:05:06.000001+00:00",
        "b": "2024-02-03T04:05:06",
        "c": "-infinity",
        "d": "0044-03-15 BC",
        "e": "P1M2D",
        "f": "04:05:06.5",
        "g": ["2024-02-03T04:05:06+00:00", None],
    }
    (row,) = await large.rows(
        "SELECT balance, 1.10 AS a, array[1.10, NULL] AS b, '\\x00ff'::bytea AS c, 'nan'::float8 AS d,"
        " 0.1::float8 AS e, '{\"x\": 1.10}'::jsonb AS f, row(1, 2.50) AS g, numrange(1.1, 2) AS h,"
        " '10.0.0.1'::inet AS i, true AS j, NULL AS k, 9223372036854775807 AS l,"
        " accounts AS m, ARRAY[ARRAY[1, 2]] AS n FROM accounts WHERE id = 3"
    )
    assert row == {
        "balance": "99999999999999999.99",
        "a": "1.10",
        "b": ["1.10", None],
        "c": "AP8=",
        "d": "nan",
        "e": 0.1,
        "f": '{"x": 1.10}',
        "g": "(1,2.50)",
        "h": "[1.1,2)",
        "i": "10.0.0.1/32",
        "j": True,
        "k": None,
        "l": 9223372036854775807,
        "m": "(3,cyd,99999999999999999.99)",
        "n": [[1, 2]],
    }


async def test_sqlite_values_lose_nothing(lite: Asked, file: Path) -> None:
    with closing(sqlite3.connect(file)) as writer, writer:
        writer.execute("CREATE TABLE odd (a, b, c, d)")
        writer.execute("INSERT INTO odd VALUES (?, CAST(? AS TEXT), 9e999, ?)", (b"\0\xff", b"\xff\xfe", 2**63 - 1))
    assert await lite.rows("SELECT *, NULL AS e FROM odd") == [
        {"a": "AP8=", "b": "//4=", "c": "inf", "d": 2**63 - 1, "e": None}
    ]


def test_a_value_that_json_has_no_word_for_is_text() -> None:
    assert exact({1: [memoryview(b"a"), (1 + 2j)]}) == {"1": ["YQ==", "(1+2j)"]}
    assert exact([Decimal("1E+3"), date(2024, 2, 3)]) == ["1000", "2024-02-03"]


async def test_columns_of_the_same_name_get_numbers(lite: Asked, large: Asked) -> None:
    for database in (lite, large):
        answer = await database.call("query", sql="SELECT 1 AS a, 2 AS a, 3 AS b")
        assert answer["rows"] == [{"a": 1, "a_2": 2, "b": 3}]
        assert [column["name"] for column in answer["columns"]] == ["a", "a_2", "b"]
        with pytest.raises(Rejected, match="names of their own"):
            await database.rows("SELECT 1 AS a, 2 AS a, 3 AS a_2")


async def test_parameters_are_bound_by_type_and_never_read_as_sql(large: Asked) -> None:
    values = {"d": "2024-02-03", "n": 1.5, "x": [1, 2], "b": "aGk=", "j": {"a": [1]}, "t": "'; DROP TABLE accounts --"}
    sql = "SELECT :d::date AS d, :n::numeric n, :x::int[] x, :b::bytea b, :j::jsonb j, :t::text t, :t::text AS u"
    (row,) = await large.rows(sql, **values)
    assert row == {**values, "n": "1.5", "j": '{"a": [1]}', "u": values["t"]}
    assert await large.value("SELECT :x::numeric[] AS a", x=["1.10", None]) == ["1.10", None]
    assert await large.value("SELECT :x::text AS a", x=None) is None
    assert await large.rows("EXPLAIN SELECT * FROM accounts WHERE balance > :n", n=1)
    for sql, value in (
        ("SELECT 1 FROM accounts WHERE id = :v", "one"),
        ("SELECT :v::bytea", "no base64!"),
        ("SELECT :v::date", "yesterday morning"),
        ("SELECT :v::text", "a\0b"),
        ("SELECT :v::numeric", True),
    ):
        with pytest.raises(Rejected):
            await large.rows(sql, v=value)


async def test_sqlite_parameters_are_bound(lite: Asked) -> None:
    assert await lite.rows("SELECT :a AS a, :b AS b, :c AS c", a=True, b="it's", c=None) == [
        {"a": 1, "b": "it's", "c": None}
    ]
    with pytest.raises(Rejected):
        await lite.rows("SELECT :a", a=2**70)
    with pytest.raises(Rejected):
        await lite.rows("SELECT :a")


async def test_a_parameter_that_the_statement_does_not_have_is_refused(lite: Asked) -> None:
    with pytest.raises(Rejected, match="no parameter :b"):
        await lite.rows("SELECT :a", a=1, b=2)
    for arguments in ({"sql": 1}, {"sql": "SELECT 1", "parameters": []}, {"sql": "SELECT 1", "more": 1}):
        with pytest.raises(Rejected, match="`query` takes"):
            await lite.call("query", **arguments)
    with pytest.raises(Rejected, match="no tool"):
        await lite.call("drop")


async def test_more_rows_or_bytes_than_the_limit_are_left_out_and_said(shop: PostgresServer, file: Path) -> None:
    for url in (shop.url(), f"sqlite:///{file}"):
        few = asked(url, max_rows=2)
        await few.upstream.open()
        raw = await few.upstream.call(ToolCall("query", {"sql": "SELECT id FROM accounts ORDER BY id"}, "c", 5.0))
        assert raw["structuredContent"]["rows"] == [{"id": 1}, {"id": 2}]
        assert raw["structuredContent"]["incomplete"]
        assert "limit of 2" in raw["_meta"][INCOMPLETE]["reason"]
        exactly = await few.upstream.call(ToolCall("query", {"sql": "SELECT id FROM accounts LIMIT 2"}, "c", 5.0))
        assert (exactly["structuredContent"]["incomplete"], "_meta" in exactly) == (False, False)
        await few.upstream.close()
        small = asked(url, max_bytes=1024)
        await small.upstream.open()
        sql = "SELECT :a AS a FROM accounts" if "sqlite" in url else "SELECT :a::text AS a FROM accounts"
        answer = await small.call("query", sql=sql, parameters={"a": "x" * 500})
        assert (answer["row_count"], "1024 bytes" in answer["reason"]) == (2, True)
        await small.upstream.close()


async def test_one_huge_value_never_reaches_the_gateway(large: Asked, lite: Asked) -> None:
    with pytest.raises(Rejected, match="larger than the limit"):
        await large.rows("SELECT string_agg('0123456789', '') FROM generate_series(1, 1000000)")
    with pytest.raises(Rejected):
        await lite.rows(
            "WITH RECURSIVE n(i, t) AS (SELECT 1, 'x' UNION ALL SELECT i + 1, t || t FROM n WHERE i < 40)"
            " SELECT max(t) FROM n"
        )


async def test_a_read_without_columns_is_refused(large: Asked) -> None:
    with pytest.raises(Rejected):
        await large.rows("SELECT FROM accounts")


async def test_a_statement_that_takes_too_long_is_stopped(shop: PostgresServer, file: Path) -> None:
    for url in (shop.url(), f"sqlite:///{file}"):
        slow = asked(url, timeout_s=0.2)
        await slow.upstream.open()
        with pytest.raises(Rejected, match=r"longer than 0\.2 s"):
            await slow.rows(COUNT_FOR_EVER)
        with pytest.raises(Rejected, match=r"longer than 0\.1 s"):
            await slow.call("query", sql=COUNT_FOR_EVER, timeout_s=0.1)
        assert await slow.value("SELECT count(*) FROM accounts") == 3
        await slow.upstream.close()


async def _busy(server: PostgresServer) -> int:
    connection = await asyncpg.connect(server.url("root"))
    try:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND application_name = 'toolgate'"
            )
        )
    finally:
        await connection.close()


async def test_a_cancelled_call_stops_its_statement_and_no_other(large: Asked, shop: PostgresServer) -> None:
    other = asyncio.ensure_future(large.rows(COUNT_FOR_EVER + " WHERE i < 3"))
    running = asyncio.ensure_future(large.rows(COUNT_FOR_EVER))
    while await _busy(shop) < 2:
        assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not other.done()
    assert await _busy(shop) == 1
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
    assert await _busy(shop) == 0
    assert await large.value("SELECT count(*) FROM accounts") == 3


async def test_a_cancelled_sqlite_call_has_ended_when_its_task_has(lite: Asked, file: Path) -> None:
    running = asyncio.ensure_future(lite.rows(COUNT_FOR_EVER))
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    file.unlink()  # and nothing holds the file


async def test_declared_statements_are_tools(shop: PostgresServer, file: Path) -> None:
    for url in (shop.url(), f"sqlite:///{file}"):
        made = asked(url, statements=STATEMENTS, query=False)
        await made.upstream.open()
        tools = {tool["name"]: tool for tool in await made.upstream.tools()}
        assert list(tools) == ["schema", "balance", "rename", "add"]
        assert tools["rename"]["inputSchema"]["required"] == ["owner"]
        assert made.upstream.traits("query") is None
        traits = made.upstream.traits("rename")
        assert traits is not None
        assert (traits.effect, traits.idempotent, traits.undo) == (Effect.WRITE, True, "rename")
        answer = await made.call("balance", id=2)
        assert answer["rows"] == [{"owner": "bob", "balance": "0.10"}]
        changed = await made.call("rename", owner="eve", id=2)
        assert (changed["affected"], changed["rows"]) == (2, [])
        assert (await made.call("rename", owner="eve"))["affected"] == 1
        added = await made.call("add", id=4, owner="dan", balance="1.50")
        assert (added["affected"], added["rows"]) == (1, [{"id": 4, "balance": "1.50"}])
        assert (await made.call("balance", id=4))["row_count"] == 1
        for name, arguments in (
            ("query", {"sql": "SELECT 1"}),
            ("balance", {}),
            ("balance", {"id": 1, "sql": "SELECT 1"}),
        ):
            with pytest.raises(Rejected):
                await made.call(name, **arguments)
        await made.upstream.close()


async def test_a_write_that_fails_changes_nothing(shop: PostgresServer, file: Path) -> None:
    statements = {
        "break": {"sql": "UPDATE accounts SET id = 1, owner = 'eve'", "effect": "write"},
        "slow": {"sql": f"UPDATE accounts SET owner = ({COUNT_FOR_EVER})", "effect": "write"},
    }
    for url in (shop.url(), f"sqlite:///{file}"):
        made = asked(url, statements=statements, timeout_s=0.3)
        await made.upstream.open()
        with pytest.raises(Rejected, match="refused the statement"):
            await made.call("break")
        with pytest.raises(Rejected, match="Nothing was changed"):
            await made.call("slow")
        assert await made.value("SELECT count(*) FROM accounts WHERE owner IN ('ann', 'bob', 'cyd')") == 3
        await made.upstream.close()


async def test_a_write_that_returns_more_than_the_limit_is_carried_out_whole(shop: PostgresServer, file: Path) -> None:
    many = {"many": {"sql": "UPDATE accounts SET owner = 'eve' RETURNING id", "effect": "write"}}
    for url in (shop.url(), f"sqlite:///{file}"):
        made = asked(url, statements=many, max_rows=1)
        await made.upstream.open()
        answer = await made.call("many")
        assert (answer["affected"], answer["row_count"], answer["incomplete"]) == (3, 1, True)
        assert await made.value("SELECT count(*) FROM accounts WHERE owner = 'eve'") == 3
        await made.upstream.close()


async def test_a_write_returning_a_type_that_cannot_be_shown_changes_nothing(shop: PostgresServer) -> None:
    whole = {"whole": {"sql": "UPDATE accounts SET owner = 'eve' RETURNING accounts", "effect": "write"}}
    made = asked(shop.url(), statements=whole)
    await made.upstream.open()
    with pytest.raises(Rejected, match="cast it to text"):
        await made.call("whole")
    assert await made.value("SELECT count(*) FROM accounts WHERE owner = 'eve'") == 0
    await made.upstream.close()


async def test_another_transaction_in_the_way_is_said_and_nothing_was_changed(shop: PostgresServer) -> None:
    slow = "UPDATE accounts SET owner = 'eve' WHERE id = :id"
    made = asked(shop.url(), statements={"name": {"sql": slow, "effect": "write", "parameters": {"id": {}}}})
    await made.upstream.open()
    other = await asyncpg.connect(shop.url("root"))
    await other.execute("ALTER ROLE agent SET default_transaction_isolation = 'repeatable read'")
    try:
        await other.execute("BEGIN; UPDATE accounts SET owner = 'fay' WHERE id = 1")
        waiting = asyncio.ensure_future(made.call("name", id=1))
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not waiting.done()
        await other.execute("COMMIT")
        with pytest.raises(Rejected, match="in the way"):
            await waiting
        assert await made.value("SELECT owner FROM accounts WHERE id = 1") == "fay"
    finally:
        await other.execute("ALTER ROLE agent RESET default_transaction_isolation")
        await other.close()
        await made.upstream.close()


async def test_a_schema_with_more_columns_than_are_shown_says_so(lite: Asked, file: Path) -> None:
    with closing(sqlite3.connect(file)) as writer, writer:
        for number in range(3):
            columns = ", ".join(f"c{place}" for place in range(1999))
            writer.execute(f"CREATE TABLE t{number} ({columns})")
    raw = await lite.upstream.call(ToolCall("schema", {}, "call_1", 20.0))
    assert raw["structuredContent"]["incomplete"]
    assert "5000 columns" in raw["_meta"][INCOMPLETE]["reason"]


async def test_a_connection_cut_at_the_commit_leaves_the_call_in_doubt(shop: PostgresServer) -> None:
    root = await asyncpg.connect(shop.url("root"))
    await root.execute(
        "CREATE TABLE slow (id int); GRANT ALL ON slow TO agent;"
        "CREATE FUNCTION wait_a_while() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION wait_a_while()"
    )
    add = {"add": {"sql": "INSERT INTO slow VALUES (1)", "effect": "write"}}
    made = asked(shop.url(), statements=add, timeout_s=1.0)
    await made.upstream.open()
    waiting = asyncio.ensure_future(made.call("add"))
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = 'agent'"
    while not await root.fetch(cut):
        assert not waiting.done()
    with pytest.raises(Unavailable) as caught:
        await waiting
    assert caught.value.sent
    with pytest.raises(TimedOut) as late:
        await made.call("add")
    assert late.value.sent
    await root.close()
    await made.upstream.close()


async def test_a_check_at_the_commit_is_a_refusal(shop: PostgresServer) -> None:
    shop_run = await asyncpg.connect(shop.url("root"))
    await shop_run.execute(
        "CREATE TABLE pairs (id int, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON pairs TO agent"
    )
    await shop_run.close()
    made = asked(shop.url(), statements={"twice": {"sql": "INSERT INTO pairs VALUES (1), (1)", "effect": "write"}})
    await made.upstream.open()
    with pytest.raises(Rejected, match="duplicate key"):
        await made.call("twice")
    assert await made.value("SELECT count(*) FROM pairs") == 0
    await made.upstream.close()


async def test_a_locked_sqlite_file_is_not_available_and_nothing_was_done(file: Path) -> None:
    made = asked(f"sqlite:///{file}", statements=STATEMENTS)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable) as caught:
            await made.call("rename", owner="eve")
        assert (caught.value.sent, caught.value.retryable) == (False, True)


async def test_the_schema_tells_tables_columns_and_keys(shop: PostgresServer, lite: Asked) -> None:
    large = asked(shop.url())
    await large.upstream.open()
    for database, types in ((lite, ("INTEGER", "TEXT", "TEXT")), (large, ("integer", "text", "numeric(20,2)"))):
        answer = await database.call("schema", table="accounts")
        (table,) = answer["tables"]
        names = [(each["name"], each["nullable"], each["primary_key"]) for each in table["columns"]]
        assert names[1:] == [("owner", False, False), ("balance", True, False)]
        assert (names[0][0], names[0][2], table["kind"]) == ("id", True, "table")
        assert tuple(each["type"] for each in table["columns"]) == types
        every = {each["name"]: each["kind"] for each in (await database.call("schema"))["tables"]}
        assert every["owners"] == "view"
        with pytest.raises(Rejected, match="no table"):
            await database.call("schema", table="nowhere")
    assert "own.notes" in every
    await large.upstream.close()


async def test_a_table_that_the_role_may_not_read_is_not_shown(shop: PostgresServer) -> None:
    made = asked(shop.url("idle"))
    await made.upstream.open()
    assert (await made.call("schema"))["tables"] == []
    with pytest.raises(Rejected, match="permission denied"):
        await made.rows("SELECT * FROM accounts")
    await made.upstream.close()


async def test_a_wrong_password_is_a_dead_credential_that_is_never_shown(shop: PostgresServer) -> None:
    wrong = asked(shop.url("locked"), password="wrong-horse-battery")
    with pytest.raises(CredentialExpired) as caught:
        await wrong.upstream.open()
    assert "wrong-horse" not in f"{caught.value.message} {caught.value.detail}"
    await wrong.upstream.close()
    right = asked(shop.url("locked"), password="${env:SHOP_PASSWORD}".replace("${env:SHOP_PASSWORD}", PASSWORD))
    await right.upstream.open()
    assert await right.value("SELECT current_user") == "locked"
    await right.upstream.close()


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    nowhere = asked(f"postgresql://agent@/shop?host={tmp_path}")
    with pytest.raises(Unavailable) as caught:
        await nowhere.upstream.open()
    assert not caught.value.sent
    await nowhere.upstream.close()
    with pytest.raises(Unavailable, match="not open"):
        await nowhere.rows("SELECT 1")


async def test_a_connection_that_is_cut_is_unavailable_and_the_next_call_works(
    large: Asked, shop: PostgresServer
) -> None:
    running = asyncio.ensure_future(large.rows(COUNT_FOR_EVER))
    while not await _busy(shop):
        assert not running.done()
    root = await asyncpg.connect(shop.url("root"))
    await root.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'toolgate'")
    await root.close()
    with pytest.raises(Unavailable):
        await running
    assert await large.value("SELECT 1") == 1


async def test_no_connection_is_left_behind(shop: PostgresServer) -> None:
    made = asked(shop.url())
    for _ in range(3):
        await made.upstream.open()
        await asyncio.gather(*(made.value("SELECT count(*) FROM accounts") for _ in range(10)))
        await made.upstream.close()
    root = await asyncpg.connect(shop.url("root"))
    async with asyncio.timeout(10):
        while await root.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'toolgate'"):
            await asyncio.sleep(0.01)
    await root.close()


async def test_the_connector_keeps_the_contract_on_both(shop: PostgresServer, file: Path) -> None:
    sample = ToolCall("query", {"sql": "SELECT id, balance FROM accounts"}, "call_1", 5.0)
    for settings in ({"url": shop.url("locked"), "password": PASSWORD}, {"url": f"sqlite:///{file}"}):
        await check_connector(SqlConnector, {**settings, "statements": STATEMENTS}, sample=sample)


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(ConnectorFault) as caught:
        await asked(f"sqlite:///{tmp_path}/a.db").upstream.open()
    assert caught.value.code == "unavailable"
