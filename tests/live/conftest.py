"""One gateway for all tests of a file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.live.inside import Inside, inside


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("gate")
    async with inside(home) as running:
        yield running
