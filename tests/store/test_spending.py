"""What is good for one use, on every store."""

from pathlib import Path

from gateway.store.ports import Store
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0


async def test_an_item_is_spent_once_until_it_has_had_its_time(store: Store) -> None:
    assert await store.spend("a", T0 + 10, T0) is True
    assert await store.spend("b", T0 + 20, T0) is True
    assert await store.spend("a", T0 + 10, T0 + 9) is False
    assert await store.spend("a", T0 + 30, T0 + 10) is True
    assert await store.spend("b", T0 + 20, T0 + 10) is False


async def test_what_is_spent_stays_so_for_the_processes_to_come(ledger_path: Path, sqlite: SqliteStore) -> None:
    assert await sqlite.spend("a", T0 + 10, T0) is True
    later = SqliteStore(ledger_path, FakeClock())
    await later.open()
    assert await later.spend("a", T0 + 10, T0) is False
    await later.close()
