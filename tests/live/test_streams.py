"""Streams that stay open, over real sockets: what ends them, and how a client that was cut off goes on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.live.running import ENVELOPE, LEGACY, MODERN, Running, payments_gateway

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LISTEN = {"notifications": {"toolsListChanged": True}}


@asynccontextmanager
async def open_stream(verb: str, url: str, headers: dict[str, str], body: Any = None) -> AsyncIterator[Any]:
    """Yield the lines of an event stream as they come, once it has begun."""
    content = None if body is None else json.dumps(body).encode()
    async with (
        httpx2.AsyncClient(timeout=30) as http,
        http.stream(verb, url, headers={**ACCEPT, **headers}, content=content) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        yield answer.aiter_lines()


def listening(running: Running, token: str) -> Any:
    """A subscription of 2026-07-28."""
    headers = {
        "Authorization": f"Bearer {token}",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "subscriptions/listen",
    }
    params = {**LISTEN, "_meta": dict(ENVELOPE)}
    body = {"jsonrpc": "2.0", "id": "s1", "method": "subscriptions/listen", "params": params}
    return open_stream("POST", f"{running.url}/mcp", headers, body)


async def message(lines: Any) -> dict[str, Any] | None:
    """The next message on a stream, or None at its end."""
    async for line in lines:
        if line.startswith("data: {"):
            found: dict[str, Any] = json.loads(line.removeprefix("data: "))
            return found
    return None


async def session_of(running: Running, token: str) -> dict[str, str]:
    """Open a legacy session; return the headers of its requests."""
    headers = {**ACCEPT, "Authorization": f"Bearer {token}"}
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.post(f"{running.url}/mcp", headers=headers, json=body)
    return {**headers, "Mcp-Session-Id": answer.headers["mcp-session-id"], "MCP-Protocol-Version": LEGACY}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    gateway = payments_gateway(tmp_path)
    running = await asyncio.to_thread(gateway.__enter__)
    yield running
    await asyncio.to_thread(gateway.__exit__, None, None, None)


async def test_a_gateway_that_stops_ends_every_open_stream_with_a_goodbye(running: Running) -> None:
    token = await asyncio.to_thread(running.token, "payer")
    session = await session_of(running, token)
    async with listening(running, token) as lines, open_stream("GET", f"{running.url}/mcp", session) as own:
        acknowledged = await message(lines)
        assert acknowledged is not None
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        stopping = asyncio.create_task(asyncio.to_thread(running.stop))
        goodbye = await message(lines)
        assert goodbye is not None
        assert (goodbye["id"], goodbye["result"]["resultType"]) == ("s1", "complete")
        assert (await message(lines), await message(own)) == (None, None)
        assert await stopping == 0
    assert "ERROR" not in running.log()


async def test_a_revoked_token_ends_its_streams(running: Running) -> None:
    token = await asyncio.to_thread(running.token, "payer")
    session = await session_of(running, token)
    async with listening(running, token) as lines, open_stream("GET", f"{running.url}/mcp", session) as own:
        await message(lines)
        await asyncio.to_thread(running.command, "token", "revoke", "payer")
        goodbye = await message(lines)
        assert goodbye is not None
        assert goodbye["result"]["resultType"] == "complete"
        assert await message(own) is None


async def test_a_session_outlives_the_gateway_and_its_stream_begins_anew(running: Running) -> None:
    token = await asyncio.to_thread(running.token, "payer")
    session = await session_of(running, token)
    await asyncio.to_thread(running.kill)
    await asyncio.to_thread(running.start)
    async with open_stream("GET", f"{running.url}/mcp", session) as own:
        async with httpx2.AsyncClient(timeout=30) as http:
            listed = await http.post(
                f"{running.url}/mcp", headers=session, json={"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
            )
            assert listed.json()["result"]["tools"]
            ended = await http.delete(f"{running.url}/mcp", headers=session)
            assert ended.status_code == 204
        assert await message(own) is None
