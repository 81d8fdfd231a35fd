"""The stores under test: the same promises, whatever keeps them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.memory import MemoryStore
from gateway.store.ports import Store
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def sqlite(ledger_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, ledger_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore(FakeClock()) if request.param == "memory" else SqliteStore(ledger_path, FakeClock())
    await made.open()
    yield made
    await made.close()
