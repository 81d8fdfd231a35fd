"""A server written on the SDK's high-level API, unchanged, over both transports and in both eras."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.connector import Upstream
from tests.connectors.mcp.conftest import FIXTURES, asked, build

SERVER = str(FIXTURES / "sdk_server.py")


@contextmanager
def serving(*transport: str) -> Iterator[int]:
    """Run the server over HTTP until the block ends, and give its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, SERVER, *transport, str(number)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not answers(number):
            assert server.poll() is None
            time.sleep(0.02)
        yield number
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as number:
        yield number


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def use(upstream: Upstream) -> None:
    await upstream.open()
    try:
        tools = {tool["name"]: tool for tool in await upstream.tools()}
        assert set(tools) == {"add", "echo", "route"}
        assert tools["add"]["outputSchema"]["properties"]["total"]["type"] == "integer"
        results = await asyncio.gather(*(upstream.call(asked("add", {"a": n, "b": 1})) for n in range(30)))
        assert [result["structuredContent"] for result in results] == [{"total": n + 1} for n in range(30)]
        routed = await upstream.call(asked("route", {"region": "zürich", "limit": 3}, idempotency_key="k"))
        assert routed["structuredContent"] == {"result": "zürich:3"}
        assert (await upstream.call(asked("add", {"a": "x"})))["isError"]
    finally:
        await upstream.close()


@pytest.mark.parametrize("protocol", ["auto", "modern", "legacy"])
async def test_the_sdks_server_is_used_over_stdio(protocol: str) -> None:
    await use(build({"command": sys.executable, "args": [SERVER, "stdio"], "protocol": protocol}))


@pytest.mark.parametrize("protocol", ["auto", "modern", "legacy"])
async def test_the_sdks_server_is_used_over_http(port: int, protocol: str) -> None:
    await use(build({"url": f"http://127.0.0.1:{port}/mcp", "protocol": protocol}))


async def test_the_sdks_server_is_used_over_the_transport_before_streamable_http() -> None:
    with serving("sse") as port:
        await use(build({"type": "sse", "url": f"http://127.0.0.1:{port}/sse"}))
