"""One gateway and one set of fault servers for all tests of a file."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.house import House, house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with house(tmp_path_factory.mktemp("faults")) as running:
        yield running
