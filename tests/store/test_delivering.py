"""A delivery is never missed while it is written."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.model.clock import SystemClock
from gateway.model.facts import StepStatus
from gateway.store.ports import Recorded
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.delivering import Delivering
from tests.store.making import ending, intent, record, step


def made(attempt: int) -> Recorded:
    mark = Delivering().mark("c1", attempt) if attempt else 0
    return Recorded("c1", "pay", "billing", "run_1", StepStatus.SUCCEEDED, "sha256:1", "k", 0, mark, {})


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_delivery_that_is_written_while_it_is_read_for_is_seen(attempt: int) -> None:
    """The row was read before, and the answer comes after it: a client would be told its last answer once more."""
    delivering, rows = Delivering(), [made(attempt - 1), made(attempt)]

    async def read() -> Recorded:
        if len(rows) == 2:
            delivering.written({"c1": attempt})
        return rows.pop(0)

    delivering.note("c1", attempt)
    found = await delivering.reading(read)
    assert found is not None
    assert found.delivered == attempt


async def test_what_is_noted_and_not_written_is_seen_without_reading_again() -> None:
    delivering, reads = Delivering(), []

    async def read() -> Recorded:
        reads.append(1)
        delivering.written({"another": 1, "c1": 1})  # an earlier attempt's; the later one is still to be written
        return made(1)

    delivering.note("c1", 2)
    found = await delivering.reading(read)
    assert found is not None
    assert (found.delivered, len(reads)) == (2, 1)


async def test_nothing_is_found_where_there_is_nothing() -> None:
    async def read() -> None:
        return None

    assert await Delivering().reading(read) is None


def delivered(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT delivered FROM calls").fetchone()[0])


async def test_a_delivery_is_written_with_the_next_transition(ledger_path: Path, sqlite: SqliteStore) -> None:
    await step(sqlite, "check", {})
    await sqlite.deliver("check", 3)
    assert not sqlite._writer._busy  # no transaction of its own
    await sqlite.record(record("read"))
    assert delivered(ledger_path) == Delivering().mark("check", 3)


async def test_a_delivery_is_written_where_no_transition_follows(ledger_path: Path, sqlite: SqliteStore) -> None:
    await step(sqlite, "check", {})
    await sqlite.deliver("check")
    async with asyncio.timeout(10):
        while not delivered(ledger_path):
            await asyncio.sleep(0.01)


async def test_only_the_gateways_own_mark_says_that_an_answer_arrived(tmp_path: Path) -> None:
    """Else whoever writes into the file that answers of a run arrived has all its effects made twice."""
    store = SqliteStore(tmp_path / "ledger.db", SystemClock(), key=b"ours")
    await store.open()
    for call_id in ("c1", "c2"):
        await store.claim(intent(call_id, step_key=call_id))
        await store.finish(ending(call_id))
        await store.deliver(call_id)
    await store.close()

    async def arrived(lie: str) -> list[int]:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as db, db:
            db.execute(lie)
        again = SqliteStore(tmp_path / "ledger.db", SystemClock(), key=b"ours")
        await again.open()
        found = [await again.made(call_id) for call_id in ("c1", "c2")]
        await again.close()
        return [call.delivered for call in found if call is not None]

    theirs = Delivering(b"theirs").mark("c1", 2)
    assert await arrived("UPDATE calls SET run_id = run_id") == [1, 1]
    for lie in ("2", str(theirs), "delivered + (1 << 40)"):
        assert await arrived(f"UPDATE calls SET delivered = {lie} WHERE call_id = 'c1'") == [0, 1]
    first = Delivering(b"ours").mark("c1", 1)
    assert await arrived(f"UPDATE calls SET delivered = {first}") == [1, 0]  # it is of that one call
    assert await arrived("UPDATE calls SET delivered = 0") == [0, 0]
