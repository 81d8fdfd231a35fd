"""What is wrong with a ledger, in words."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger.verify import Finding, examine
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import record


async def examined(path: Path, *statements: str) -> Finding:
    store = SqliteStore(path, FakeClock())
    await store.open()
    for number in range(3):
        await store.record(record(f"c{number}"))
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)
    finding = await examine(store)
    await store.close()
    return finding


async def test_a_ledger_that_holds_is_said_to_hold(tmp_path: Path) -> None:
    assert await examined(tmp_path / "l.db") == Finding(intact=True, events=3)


@pytest.mark.parametrize(
    ("statement", "seq", "words"),
    [
        (
            "UPDATE events SET agent = 'eve' WHERE seq = 2",
            2,
            "event 2 was changed after it was written"
            " (call.recorded of c1, agent eve, tool payments.list, 2027-01-15 08:00:00 UTC)",
        ),
        ("DELETE FROM events WHERE seq = 2", 2, "event 2 is missing"),
        ("DELETE FROM events WHERE seq = 3", 3, "event 3 is missing, and everything up to 3"),
        ("UPDATE events SET kind = 'x' WHERE seq = 2", 2, "event 2 was changed after it was written"),
        (
            "UPDATE events SET tool = '', agent = '', call_id = '' WHERE seq = 2",
            2,
            "event 2 was changed after it was written (call.recorded, agent -, tool -, 2027-01-15 08:00:00 UTC)",
        ),
    ],
)
async def test_a_ledger_that_broke_is_described(tmp_path: Path, statement: str, seq: int, words: str) -> None:
    assert await examined(tmp_path / "l.db", statement) == Finding(intact=False, seq=seq, words=words)
