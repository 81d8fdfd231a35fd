"""Between an upgrade and the restart of the gateway: no command changes the ledger under the one that is still up."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.store.sqlite.migrate import files
from tests.cli.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A ledger as the version before the last migration left it."""
    house = House.with_policies(tmp_path)
    (tmp_path / ".toolgate").mkdir(mode=0o700)
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at_ms INTEGER NOT NULL)")
        for number, name, text in files()[:-1]:
            db.executescript(text)
            db.execute("INSERT INTO migrations (number, name, at_ms) VALUES (?, ?, 0)", (number, name))
        db.commit()
    return house


@pytest.fixture
def still_up(house: House) -> Iterator[sqlite3.Connection]:
    with (
        (house.path / ".toolgate/up.lock").open("w") as lock,
        closing(sqlite3.connect(house.path / "gateway.db")) as db,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield db


def brought_up_to(db: sqlite3.Connection) -> int:
    [(last,)] = db.execute("SELECT max(number) FROM migrations").fetchall()
    return int(last)


@pytest.mark.parametrize("command", [("trace", "list"), ("trace", "tail"), ("verify",), ("runs", "list")])
def test_a_command_says_to_restart_the_gateway_of_the_earlier_version_and_changes_nothing(
    house: House, still_up: sqlite3.Connection, command: tuple[str, ...]
) -> None:
    before = brought_up_to(still_up)
    refused = house.run(*command)
    assert (refused.exit_code, "restart it with this one" in refused.output) == (1, True)
    assert brought_up_to(still_up) == before == files()[-2][0]


def test_once_it_is_down_the_first_command_brings_the_ledger_up_to_date(house: House) -> None:
    assert house.run("trace", "list").output == "no calls\n"
    with closing(sqlite3.connect(house.path / "gateway.db")) as db:
        assert brought_up_to(db) == files()[-1][0]
    assert house.run("verify").exit_code == 0


def test_a_gateway_of_this_version_that_is_up_keeps_no_command_from_the_ledger(house: House) -> None:
    house.run("trace", "list")
    with (house.path / ".toolgate/up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert house.run("trace", "list").exit_code == 0


def test_what_is_no_ledger_is_told_as_that_though_a_gateway_is_up(house: House) -> None:
    (house.path / "gateway.db").write_bytes(b"this is no database, and it is long enough to be looked at" * 20)
    with (house.path / ".toolgate/up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "store_unavailable" in house.run("trace", "list").output
