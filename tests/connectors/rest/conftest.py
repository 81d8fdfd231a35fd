"""A scripted API for every test, and upstreams that are closed after it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from gateway.connector import Upstream
from tests.connectors.rest.api import Api
from tests.connectors.rest.building import build

Start = Callable[..., Awaitable[Upstream]]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Api() as running:
        yield running


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(section)` returns an open upstream."""
    started: list[Upstream] = []

    async def begin(section: Mapping[str, Any], **lent: Any) -> Upstream:
        upstream = build(section, **lent)
        started.append(upstream)
        await upstream.open()
        return upstream

    yield begin
    for upstream in started:
        await upstream.close()
