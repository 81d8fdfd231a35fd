"""The two databases, with the same small shop in each."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.sql import SqlConnector
from gateway.connector import Surroundings, ToolCall, Upstream
from tests.connectors.sql.server import PASSWORD, PostgresServer, installed, running

ROWS = [(1, "ann", "10.50"), (2, "bob", "0.10"), (3, "cyd", "99999999999999999.99")]
_SQLITE = """
CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance TEXT);
CREATE VIEW owners AS SELECT owner FROM accounts;
"""
_POSTGRES = f"""
CREATE TABLE accounts (id int PRIMARY KEY, owner text NOT NULL, balance numeric(20, 2));
CREATE VIEW owners AS SELECT owner FROM accounts;
CREATE SEQUENCE numbers;
CREATE SCHEMA own;
CREATE TABLE own.notes (id int, note text);
CREATE FUNCTION own.lower(text) RETURNS text LANGUAGE sql AS 'UPDATE accounts SET balance = 0 RETURNING $1';
CREATE FUNCTION empty_accounts() RETURNS int LANGUAGE plpgsql AS
    'BEGIN UPDATE accounts SET balance = 0; RETURN 1; END';
CREATE PROCEDURE empty_them() LANGUAGE sql AS 'UPDATE accounts SET balance = 0';
CREATE ROLE agent LOGIN; CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE idle LOGIN;
GRANT ALL ON ALL TABLES IN SCHEMA public, own TO agent, locked;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO agent;
GRANT USAGE, CREATE ON SCHEMA public, own TO agent;
"""


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    programs = installed()
    if programs is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql): its tests did not run")
    with running(programs) as server:
        server.run(_POSTGRES, "SELECT 1")
        yield server


@pytest.fixture
def shop(postgres: PostgresServer) -> PostgresServer:
    """The server with the shop's rows as they were."""
    values = ", ".join(f"({number}, '{owner}', {balance})" for number, owner, balance in ROWS)
    postgres.run("TRUNCATE accounts, own.notes", f"INSERT INTO accounts VALUES {values}", "SELECT 1")
    return postgres


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "database" / "shop.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_SQLITE)
        connection.executemany("INSERT INTO accounts VALUES (?, ?, ?)", ROWS)
    return path


class Asked:
    """A database behind the connector."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    async def call(self, name: str, /, timeout_s: float = 20.0, **arguments: Any) -> Any:
        """Call a tool; return what it answers for programs."""
        return (await self.upstream.call(ToolCall(name, arguments, "call_1", timeout_s)))["structuredContent"]

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        return list((await self.call("query", sql=sql, parameters=values))["rows"])

    async def value(self, sql: str, **values: Any) -> Any:
        (row,) = await self.rows(sql, **values)
        (value,) = row.values()
        return value


def asked(url: str, **settings: Any) -> Asked:
    config = SqlConnector.configure({"url": url, **settings}, {})
    return Asked(SqlConnector.upstream(config, Surroundings(server="shop")))


@pytest.fixture
async def lite(file: Path) -> AsyncIterator[Asked]:
    made = asked(f"sqlite:///{file}")
    await made.upstream.open()
    yield made
    await made.upstream.close()


@pytest.fixture
async def large(shop: PostgresServer) -> AsyncIterator[Asked]:
    made = asked(shop.url())
    await made.upstream.open()
    yield made
    await made.upstream.close()
