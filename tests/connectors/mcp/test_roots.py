"""A server hears that its client's roots changed, and may list them between calls: those of that client alone."""

import asyncio
from typing import Any

import pytest

from gateway.connector import Upstream
from tests.connectors.mcp.client import ROOTS, Client
from tests.connectors.mcp.conftest import Start, asked, text
from tests.connectors.mcp.test_talk import talker

CAPABLE = {"roots": {"listChanged": True}, "sampling": {}}


def rooted(**more: Any) -> Client:
    return Client(capabilities=CAPABLE, answers={"roots/list": ROOTS, "sampling/createMessage": {}}, **more)


async def answers(upstream: Upstream, client: Client) -> list[Any]:
    """What the server was answered, as it knows it by now."""
    found: list[Any] = text(await upstream.call(asked("about", back=client))).get("answers", [])
    return found


async def changed(upstream: Upstream, client: Client) -> bool:
    """Have the server told; whether it was."""
    return bool((await upstream.call(asked("roots/list", {}, method="roots/list", back=client)))["told"])


async def test_a_server_lists_the_roots_of_the_client_that_changed_them(start: Start) -> None:
    upstream, client, other = await start(talker()), rooted(), rooted(lane="other")
    for each in (client, other):
        await upstream.call(asked("about", back=each))
    assert await changed(upstream, client)
    assert [(method, params) for method, params in client.asked] == [("roots/list", {})]
    assert [each["result"] for each in await answers(upstream, client)] == [ROOTS]
    assert (other.asked, await answers(upstream, other)) == ([], [])


async def test_between_calls_a_server_may_ask_nothing_else(start: Start) -> None:
    upstream, client = await start(talker()), rooted()
    await upstream.call(asked("on-roots", {"ask": ["sampling/createMessage", "roots/list"]}, back=client))
    assert await changed(upstream, client)
    assert [method for method, _ in client.asked] == ["roots/list"]
    found: list[Any] = []
    while len(found) < 2:
        found = await answers(upstream, client)
    assert sorted("result" in each for each in found) == [False, True]


async def test_what_is_asked_while_a_call_is_under_way_is_that_calls(start: Start) -> None:
    upstream, client, seen = await start(talker()), rooted(), asyncio.Event()

    async def slowly(params: Any) -> Any:
        seen.set()
        return ROOTS

    client._answers = {"roots/list": slowly}
    await upstream.call(asked("about", back=client))
    holding = asyncio.ensure_future(upstream.call(asked("hold", back=client)))
    telling = asyncio.ensure_future(changed(upstream, client))
    await seen.wait()
    telling.cancel()
    await upstream.call(asked("release", back=client))
    assert text(await holding) == "released"
    await asyncio.gather(telling, return_exceptions=True)
    assert [method for method, _ in client.asked] == ["roots/list"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_server_that_has_no_session_of_the_client_is_not_told(start: Start, era: str) -> None:
    upstream, client = await start(talker(era)), rooted()
    if era == "modern":
        await upstream.call(asked("about", back=rooted(log_level="info")))
    assert not await changed(upstream, client)
    assert client.asked == []


async def test_a_modern_server_is_not_promised_to_hear_of_it(start: Start) -> None:
    upstream = await start(talker("modern"))
    told = text(await upstream.call(asked("about", back=rooted())))["meta"]
    assert told["io.modelcontextprotocol/clientCapabilities"] == {"roots": {}, "sampling": {}}


async def test_a_server_that_is_gone_is_not_told(start: Start) -> None:
    upstream, client = await start(talker()), rooted()
    await upstream.call(asked("about", back=client))
    await asyncio.gather(upstream.call(asked("crash", back=client)), return_exceptions=True)
    assert not await changed(upstream, client)


async def test_a_question_that_the_server_takes_back_is_waited_for_no_longer(start: Start) -> None:
    upstream, client = await start(talker()), rooted()

    async def endless(params: Any) -> Any:
        back = [{"method": "notifications/cancelled", "params": {"requestId": "roots/list 0"}}]
        others.append(asyncio.ensure_future(upstream.call(asked("talk", {"say": back}, back=client))))
        await asyncio.sleep(600)

    others: list[Any] = []
    client._answers = {"roots/list": endless}
    await upstream.call(asked("about", back=client))
    assert await changed(upstream, client)
    await asyncio.gather(*others)
    assert client.dropped == ["roots/list"]
