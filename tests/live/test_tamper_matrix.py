"""Whatever single row somebody changes in the file of a gateway that did every kind of work, the audit finds it.

For every table there is, and every column of it: a changed value, a row put in, taken out, exchanged with another, all
rows taken out. Nothing may be changed unnoticed.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.local import load_local_key
from gateway.model.errors import LedgerTampered
from gateway.store.ports import EventKind
from gateway.store.sqlite.auditing import audit_ledger
from gateway.store.sqlite.migrate import migrate
from gateway.store.sqlite.summing import Sums
from tests.live.filling import fill
from tests.live.raw import Peer, received
from tests.live.running import Running, environment


def schema() -> dict[str, list[str]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, 0, Sums())
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables}


SCHEMA = schema()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder of a gateway that did every kind of work and was stopped, and its agents' tokens."""
    folder: Path = tmp_path_factory.mktemp("filled")
    return folder, asyncio.run(fill(folder))


@pytest.fixture(scope="module")
def sums(done: tuple[Path, dict[str, str]]) -> Sums:
    """What knows the sums of that gateway's database by its key."""
    return Sums(load_local_key(done[0] / ".toolgate" / "local.key"))


@pytest.fixture(scope="module")
def filled(done: tuple[Path, dict[str, str]], sums: Sums) -> Iterator[sqlite3.Connection]:
    """The database of a gateway that did every kind of work and was stopped, in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as kept:
        with closing(sqlite3.connect(done[0] / "data" / "gateway.db")) as file:
            file.backup(kept)
        assert audit_ledger(kept, sums) > 50
        yield kept


def rows_of(db: sqlite3.Connection, table: str) -> list[list[Any]]:
    return [list(row) for row in db.execute(f"SELECT {', '.join(SCHEMA[table])} FROM {table}")]


def verdict(held: tuple[sqlite3.Connection, Sums], table: str, rows: list[list[Any]]) -> str:
    """Return what the audit says of a copy that has these rows in a table; nothing where it finds nothing wrong."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        held[0].backup(db)
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(f"DELETE FROM {table}")
        marks = ", ".join("?" * len(SCHEMA[table]))
        db.executemany(f"INSERT INTO {table} ({', '.join(SCHEMA[table])}) VALUES ({marks})", rows)
        try:
            audit_ledger(db, held[1])
        except LedgerTampered as found:
            return found.detail
        return ""


def samples(table: str, rows: list[list[Any]]) -> list[int]:
    """Return which rows are tried: of events one of each kind, of other tables at most eight."""
    if table == "events":
        kinds = [row[SCHEMA[table].index("kind")] for row in rows]
        return [kinds.index(kind) for kind in sorted(set(kinds))]
    return list(range(len(rows)))[:8]


def other(value: Any, *, unique: bool = False) -> Any:
    """Return a value that is nearly the same, or that no other row has."""
    if value is None:
        return 1
    if isinstance(value, str):
        if unique or value.startswith("{"):
            return f"{value} "
        return f"{value[:-1]}{chr(ord(value[-1]) ^ 1)}" if value else "x"
    return value + (1000 if unique else 1)


def unique(db: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns that no two rows may share."""
    found = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[5]]
    for index in db.execute(f"PRAGMA index_list({table})").fetchall():
        found += [row[2] for row in db.execute(f"PRAGMA index_info({index[1]})") if index[2]]
    return list(dict.fromkeys(found))


COLUMNS = [(table, column) for table, columns in SCHEMA.items() for column in columns]


@pytest.mark.parametrize("table", SCHEMA)
def test_the_work_that_was_done_left_something_in_every_table(filled: sqlite3.Connection, table: str) -> None:
    assert len(rows_of(filled, table)) >= (1 if table == "chain_head" else 2)


def test_the_work_that_was_done_told_of_every_kind_of_row(filled: sqlite3.Connection) -> None:
    kinds = {kind for (kind,) in filled.execute("SELECT DISTINCT kind FROM events")}
    assert {
        *(EventKind.TOKEN_ISSUED, EventKind.RUN_PLACED, EventKind.TASK_BEGUN, EventKind.TASK_CHANGED),
        *(EventKind.STATE_SPENT, EventKind.APPROVAL_USED, EventKind.FACT_PUT, EventKind.HEAD_SIGNED),
    } <= kinds


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_changed_value_is_found(filled: sqlite3.Connection, sums: Sums, table: str, column: str) -> None:
    at = SCHEMA[table].index(column)
    for number in samples(table, rows_of(filled, table)):
        rows = rows_of(filled, table)
        rows[number][at] = other(rows[number][at], unique=column in unique(filled, table))
        assert verdict((filled, sums), table, rows), rows[number]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_value_of_another_type_is_found(filled: sqlite3.Connection, sums: Sums, table: str, column: str) -> None:
    at = SCHEMA[table].index(column)
    for lie in (b"\xff", "x", str(rows_of(filled, table)[0][at]).encode()):
        rows = rows_of(filled, table)
        rows[0][at] = lie
        try:
            assert verdict((filled, sums), table, rows), lie
        except sqlite3.IntegrityError:
            assert column == unique(filled, table)[0]  # a number that names a row can be nothing else


@pytest.mark.parametrize("table", SCHEMA)
def test_all_rows_taken_out_are_found(filled: sqlite3.Connection, sums: Sums, table: str) -> None:
    assert verdict((filled, sums), table, [])


@pytest.mark.parametrize("table", SCHEMA)
def test_a_table_taken_out_is_named(filled: sqlite3.Connection, sums: Sums, table: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        filled.backup(db)
        db.execute(f"DROP TABLE {table}")
        with pytest.raises(LedgerTampered) as found:
            audit_ledger(db, sums)
        assert f"a database without the table {table}" in found.value.detail


@pytest.mark.parametrize("table", SCHEMA)
def test_a_row_taken_out_is_found(filled: sqlite3.Connection, sums: Sums, table: str) -> None:
    for number in samples(table, rows_of(filled, table)):
        rows = rows_of(filled, table)
        gone = rows.pop(number)
        assert verdict((filled, sums), table, rows), gone


@pytest.mark.parametrize("table", SCHEMA)
def test_a_row_put_in_is_found(filled: sqlite3.Connection, sums: Sums, table: str) -> None:
    ours = [SCHEMA[table].index(column) for column in unique(filled, table)]
    for number in samples(table, rows_of(filled, table)):
        rows = rows_of(filled, table)
        more = list(rows[number])
        for at in ours:
            more[at] = other(more[at], unique=True)
        assert verdict((filled, sums), table, [*rows, more]), more


@pytest.mark.parametrize("table", [table for table in SCHEMA if table != "chain_head"])
def test_two_rows_in_each_others_place_are_found(filled: sqlite3.Connection, sums: Sums, table: str) -> None:
    keys = [row[0] for row in filled.execute(f"PRAGMA table_info({table})") if row[5]]
    for number in samples(table, rows_of(filled, table))[1:]:
        rows = rows_of(filled, table)
        for at in keys:
            rows[0][at], rows[number][at] = rows[number][at], rows[0][at]
        if sorted(rows, key=repr) != sorted(rows_of(filled, table), key=repr):
            assert verdict((filled, sums), table, rows), (rows[0], rows[number])


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER forged AFTER INSERT ON pauses BEGIN DELETE FROM pauses; END",
        "CREATE TABLE more (id TEXT)",
        "CREATE VIEW more AS SELECT * FROM tokens",
        "DROP INDEX calls_by_live_key",
        "CREATE UNIQUE INDEX steps_0123456789abcdef01234567 ON events (seq)",
        "ALTER TABLE tokens ADD COLUMN admin INTEGER",
        "DELETE FROM migrations WHERE number = 20",
        "INSERT INTO migrations VALUES (21, '0021_forged.sql', 0)",
        "CREATE INDEX steps_0123456789abcdef01234567 ON events (seq)",
        "ANALYZE",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 1",
    ],
)
def test_another_schema_is_found(filled: sqlite3.Connection, sums: Sums, statement: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        filled.backup(db)
        db.execute(statement)
        with pytest.raises(LedgerTampered):
            audit_ledger(db, sums)


LIES = (
    "UPDATE sightings SET agent = 'ghost' || rowid, known = 1, calls = 1000000",
    "UPDATE calls SET delivered = iif(delivered = 0, 9, 0)",
    "UPDATE migrations SET at_ms = 0",
    "INSERT INTO sessions SELECT 'forged.' || substr(id, 8), seen_ms, body FROM sessions",
    "UPDATE sessions SET body = json_set(body, '$.endpoint', 'other') WHERE rowid % 2 = 0",
)


@pytest.fixture(scope="module")
def lying(done: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway on a ledger where everything no event tells of says something else, and somebody accepted that."""
    copy = tmp_path_factory.mktemp("lying") / "home"
    shutil.copytree(done[0], copy)
    (copy / ".toolgate" / "run.json").unlink()
    with closing(sqlite3.connect(copy / "data" / "gateway.db")) as db, db:
        for statement in LIES:
            assert db.execute(statement).rowcount > 0, statement
    running = Running(copy, environment())
    assert "of sessions" in running.command("verify", check=False).stdout
    assert "ledger_tampered" in running.command("up", check=False).stderr
    assert "the chain holds" in running.command("verify", "--accept", "a drill").stdout
    running.start()
    yield running
    assert running.stop() == 0


def test_rows_that_are_accepted_are_on_record_with_what_was_found(lying: Running) -> None:
    assert "the chain holds" in lying.command("verify").stdout
    with closing(sqlite3.connect(lying.home / "data" / "gateway.db")) as db:
        [(body,)] = db.execute("SELECT body FROM events WHERE body LIKE '%ledger accepted%'")
    told = json.loads(body)
    assert (told["why"], "of sessions" in told["found"]) == ("a drill", True)


async def test_an_inventory_that_lies_lets_nobody_in(lying: Running) -> None:
    stranger = Peer(f"{lying.url}/mcp", "tg_ghost_0123456789")
    assert (await stranger.call("probe_echo")).status == 401


async def test_a_session_opens_for_nobody_else_whatever_its_row_says(
    lying: Running, done: tuple[Path, dict[str, str]]
) -> None:
    with closing(sqlite3.connect(lying.home / "data" / "gateway.db")) as db:
        ids = [session for (session,) in db.execute("SELECT id FROM sessions")]
    assert len(ids) >= 4
    stranger = Peer(f"{lying.url}/mcp", done[1]["clerk"], "legacy")
    for stranger.session in ids:
        assert (await stranger.rpc("tools/list")).status == 404, stranger.session
    known = Peer(f"{lying.url}/mcp", done[1]["payer"], "legacy")
    opened = []
    for known.session in ids:
        opened.append((await known.rpc("tools/list")).status)
    assert set(opened) == {200, 404}
    assert not any(status == 200 for status, session in zip(opened, ids, strict=True) if session.startswith("forged"))


async def test_a_call_whose_answer_is_said_to_have_arrived_or_not_is_decided_anew_or_answered_from_the_record(
    lying: Running, done: tuple[Path, dict[str, str]]
) -> None:
    known = Peer(f"{lying.url}/mcp", done[1]["payer2"])
    before = len(received(lying.home / "probe"))
    for number in range(2):  # one of them was approved, once, and made
        assert (await known.call("probe_odd", {"n": number, "for": "payer2"})).code in {"needs_approval", "ok"}
    assert len(received(lying.home / "probe")) == before
