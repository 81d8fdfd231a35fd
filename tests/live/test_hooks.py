"""Another system posts to a real gateway; the agent that subscribed is told, and reads what came."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.connectors.inbox.senders import SECRET, body_of, standard
from tests.live.running import ENVELOPE, MODERN, Running, environment
from tests.live.test_streams import message, open_stream

CONFIG = f"""
version: 1
server: {{ listen: "127.0.0.1:0" }}
mcpServers:
  events: {{ connector: inbox, hooks: {{ deals: {{ secret: "{SECRET}" }} }} }}
agents:
  sales: {{ owner: sales@acme.example, allow: ["events.*"] }}
  other: {{ owner: office@acme.example }}
"""
URI = "inbox://events/deals"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    (tmp_path / "gateway.yaml").write_text(CONFIG, encoding="utf-8")
    gateway = Running(tmp_path, environment())
    await asyncio.to_thread(gateway.start)
    yield gateway
    await asyncio.to_thread(gateway.stop)


async def post(running: Running, payload: Any, **more: Any) -> int:
    body = body_of(payload)
    headers = more.pop("headers", standard(body, int(time.time()), message=f"msg_{payload['n']}"))
    async with httpx2.AsyncClient(timeout=30) as http:
        url = f"{running.url}/hooks/{more.pop('hook', 'events/deals')}"
        return (await http.post(url, content=more.pop("body", body), headers=headers)).status_code


def read(running: Running, token: str) -> Any:
    answer = running.rpc("resources/read", {"uri": URI}, token=token, headers={"Mcp-Name": URI}).json()
    return json.loads(answer["result"]["contents"][0]["text"])["messages"] if "result" in answer else answer["error"]


async def test_a_signed_message_reaches_who_subscribed_and_outlives_a_crash(running: Running) -> None:
    token = await asyncio.to_thread(running.token, "sales")
    headers = {
        "Authorization": f"Bearer {token}",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "subscriptions/listen",
    }
    params = {"notifications": {"resourceSubscriptions": [URI]}, "_meta": dict(ENVELOPE)}
    listen = {"jsonrpc": "2.0", "id": "s1", "method": "subscriptions/listen", "params": params}
    async with open_stream("POST", f"{running.url}/mcp", headers, listen) as lines:
        await message(lines)
        assert await post(running, {"n": 1}) == 202
        told = await message(lines)
        assert told is not None
        assert (told["method"], told["params"]["uri"]) == ("notifications/resources/updated", URI)
    assert await post(running, {"n": 1}) == 200
    await asyncio.to_thread(running.kill)
    await asyncio.to_thread(running.start)
    assert await post(running, {"n": 1}) == 200
    assert [each["payload"] for each in await asyncio.to_thread(read, running, token)] == [{"n": 1}]
    await asyncio.to_thread(running.command, "verify")


async def test_nobody_unknown_gets_in_and_no_other_agent_reads(running: Running) -> None:
    assert await post(running, {"n": 1}, headers={}) == 401
    assert await post(running, {"n": 1}, headers=standard(b"other", int(time.time()))) == 401
    assert await post(running, {"n": 1}, hook="events/none") == 404
    assert await post(running, {"n": 1}, body=b"x" * 300_000) == 413
    other = await asyncio.to_thread(running.token, "other")
    assert "code" in await asyncio.to_thread(read, running, other)
