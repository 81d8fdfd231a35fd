"""Two processes that write one ledger: neither is told anything that does not hold, and the chain is one."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.model.errors import LedgerTampered, StoreFault
from gateway.model.facts import RunRef
from gateway.store.ports import ClaimVerdict
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, ending, intent, record


@pytest.fixture
async def other(ledger_path: Path, sqlite: SqliteStore) -> AsyncIterator[SqliteStore]:
    """A second process, as far as the file is concerned; both have written already."""
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    await sqlite.record(record("first"))
    await store.record(record("second"))
    yield store
    await store.close()


async def test_a_claim_behind_the_chains_end_is_claimed(sqlite: SqliteStore, other: SqliteStore) -> None:
    for store, call_id in ((sqlite, "a"), (other, "b"), (sqlite, "c")):
        claimed = await store.claim(intent(call_id, step_key=f"key {call_id}"))
        assert claimed.verdict is ClaimVerdict.CLAIMED
    await sqlite.finish(ending("c"))
    await other.finish(ending("a"))
    with pytest.raises(StoreFault, match="recorded"):
        await sqlite.finish(ending("a"))
    assert await sqlite.verify() == 7


async def test_a_step_that_another_process_took_is_answered_from_its_record(
    sqlite: SqliteStore, other: SqliteStore
) -> None:
    await other.claim(intent("a", step_key="one"))
    repeated = await sqlite.claim(intent("b", step_key="one"))
    assert (repeated.verdict, repeated.recorded and repeated.recorded.call_id) == (ClaimVerdict.RECORDED, "a")
    with pytest.raises(StoreFault, match="recorded"):
        await sqlite.claim(intent("a"))
    assert await sqlite.verify() == 3


async def test_a_run_that_is_opened_behind_the_chains_end_is_opened(sqlite: SqliteStore, other: SqliteStore) -> None:
    for number, store in enumerate((sqlite, other, sqlite)):
        run = RunRef(f"run_{number}", "payer", "handle")
        assert await store.open_run(run, f"key {number}", T0) == run
    assert await other.verify() == 5


async def test_what_appends_nothing_finds_an_end_that_is_gone_as_well(
    ledger_path: Path, sqlite: SqliteStore, other: SqliteStore
) -> None:
    await sqlite.record(record("third"))
    with closing(sqlite3.connect(ledger_path)) as db, db:
        (tip,) = db.execute("DELETE FROM events WHERE seq = 3 RETURNING prev_hash").fetchone()
        db.execute("UPDATE chain_head SET seq = 2, hash = ?", (tip,))
    with pytest.raises(LedgerTampered):
        await sqlite.end_session("none")
    with pytest.raises(LedgerTampered):
        await sqlite.record(record("fourth"))
