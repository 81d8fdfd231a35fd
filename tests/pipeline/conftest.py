"""Every decision that a test has put on record is replayed at its end."""

import asyncio
from collections.abc import Iterator

import pytest

from gateway.store.memory import MemoryStore
from tests.pipeline.gate import Gate
from tests.replaying import check_replay


@pytest.fixture(autouse=True)
def replayed() -> Iterator[None]:
    """Replay the ledger of each gate that the test made."""
    Gate.made.clear()
    yield
    stores = {id(gate.store): gate.store for gate in Gate.made if type(gate.store) is MemoryStore}
    Gate.made.clear()
    for store in stores.values():
        asyncio.run(check_replay(store))
