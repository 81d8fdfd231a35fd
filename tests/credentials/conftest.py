"""One authorization server for a test process; each test finds it as new."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.credentials.authority import Authority, Ring, authority, ring


@pytest.fixture(scope="session")
def server() -> Iterator[Authority]:
    with authority() as running:
        yield running


@pytest.fixture
def oauth(server: Authority) -> Authority:
    server.control(reset=True)
    return server


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Ring]:
    async with ring(tmp_path) as made:
        yield made
