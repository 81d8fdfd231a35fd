"""What server-everything says by itself: progress, logs, updates; and calls called off. Over both transports."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.live.inside import Inside, inside
from tests.live.real.servers import ENVIRONMENT, Real
from tests.live.real.test_same import installed
from tests.live.speaking import ABLE, Speaker, over_http, over_stdio

pytestmark = pytest.mark.asyncio(loop_scope="module")

BACKS = ["stdio", "http"]
ERAS = ["modern", "legacy"]
LONG = {"name": "trigger-long-running-operation", "arguments": {"duration": 0.3, "steps": 3}}
URI = "demo://resource/dynamic/text/1"


@asynccontextmanager
async def listening_at(server: Real) -> AsyncIterator[str]:
    """Run the server over HTTP; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | {"PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        *server.command, "streamableHttp", env=env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        assert b"listening" in await process.stderr.readline()
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        await process.communicate()


class Ways:
    """To server-everything: directly and through a gateway, over stdio and over HTTP."""

    def __init__(self, server: Real, url: str, gate: Inside) -> None:
        self._server, self._url, self._gate = server, url, gate

    @asynccontextmanager
    async def directly(self, back: str, **capabilities: Any) -> AsyncIterator[Speaker]:
        if back == "http":
            async with over_http(self._url, modern=False, capabilities=capabilities) as speaker:
                yield speaker
        else:
            async with over_stdio(self._server.command, modern=False, capabilities=capabilities) as speaker:
                yield speaker

    @asynccontextmanager
    async def through(self, back: str, era: str, **capabilities: Any) -> AsyncIterator[Speaker]:
        url, token = f"{self._gate.url}/{back}", self._gate.tokens["agent"]
        async with over_http(url, modern=era == "modern", token=token, capabilities=capabilities) as speaker:
            yield speaker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ways(web: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ways]:
    server = await asyncio.to_thread(installed, "everything", web)
    home: Path = tmp_path_factory.mktemp("talking")
    async with listening_at(server) as url:
        config = {
            "version": 1,
            "server": {"listen": "127.0.0.1:0", "store": "memory:"},
            "mcpServers": {
                "stdio": {"command": server.command[0], "args": list(server.command[1:])},
                "http": {"type": "http", "url": url},
            },
            "agents": {"agent": {"allow": ["*", "*.sampling/*", "*.elicitation/*", "*.roots/*"]}},
            "endpoints": {back: {"servers": [back], "names": "bare"} for back in BACKS},
        }
        async with inside(home, json.dumps(config)) as gate:
            async with asyncio.timeout(30):
                while not all(gate.gateway.rules.current.catalog_at(back).tools() for back in BACKS):
                    await asyncio.sleep(0.05)
            yield Ways(server, url, gate)


async def progress(speaker: Speaker) -> Any:
    answer = await speaker.ask("tools/call", LONG, progressToken="mine")
    return answer["result"]["content"], speaker.of("progress")


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("era", ERAS)
async def test_progress_is_told_as_the_server_tells_it(ways: Ways, back: str, era: str) -> None:
    async with ways.directly(back) as speaker:
        expected = await progress(speaker)
    assert [each["progress"] for each in expected[1]] == [1, 2, 3]
    async with ways.through(back, era) as speaker:
        assert await progress(speaker) == expected


async def toggled_logs(speaker: Speaker, era: str) -> dict[str, Any]:
    """Have the server log once, at a level of its choice; return what was heard of it."""
    if era == "modern":
        speaker.log_level = "debug"
    else:
        assert (await speaker.ask("logging/setLevel", {"level": "debug"}))["result"] == {}
    await speaker.call("toggle-simulated-logging")
    await speaker.until(lambda: speaker.of("message"))
    await speaker.call("toggle-simulated-logging")
    return speaker.of("message")[0]


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("era", ERAS)
async def test_what_it_logs_is_heard(ways: Ways, back: str, era: str) -> None:
    async with ways.directly(back) as speaker:
        direct = await toggled_logs(speaker, "legacy")
    async with ways.through(back, era) as speaker:
        gated = await toggled_logs(speaker, era)
    assert set(direct) == set(gated) == {"level", "data"}
    assert str(gated["data"]).lower().startswith(gated["level"])


async def updates(speaker: Speaker, era: str) -> list[dict[str, Any]]:
    """Subscribe to a resource, and have the server say once that it changed."""
    if era == "modern":
        await speaker.begin("subscriptions/listen", {"notifications": {"resourceSubscriptions": [URI]}})
        await speaker.until(lambda: speaker.of("subscriptions/acknowledged"))
    else:
        assert (await speaker.ask("resources/subscribe", {"uri": URI}))["result"] == {}
    await speaker.call("toggle-subscriber-updates")
    await speaker.until(lambda: speaker.of("resources/updated"))
    await speaker.call("toggle-subscriber-updates")
    return [{name: said for name, said in each.items() if name != "_meta"} for each in speaker.of("resources/updated")]


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("era", ERAS)
async def test_updates_of_a_resource_are_told_to_who_subscribed(ways: Ways, back: str, era: str) -> None:
    """To a client that cannot be asked anything: one that can has a session of its own at the server (README)."""
    async with ways.directly(back) as speaker:
        expected = await updates(speaker, "legacy")
    async with ways.through(back, era) as speaker:
        assert await updates(speaker, era) == expected == [{"uri": URI}]


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_is_called_off_harms_no_other(ways: Ways, back: str, era: str) -> None:
    async with ways.through(back, era) as speaker:
        other = await speaker.begin("tools/call", LONG)
        pending = await speaker.begin("tools/call", LONG, progressToken="mine")
        await speaker.until(lambda: speaker.of("progress"))
        await pending.cancel()
        content = (await other.wait())["result"]["content"]
        assert content == (await speaker.ask("tools/call", LONG))["result"]["content"]


@pytest.mark.parametrize("back", BACKS)
async def test_the_server_shows_what_some_client_could_use_and_refuses_who_cannot(ways: Ways, back: str) -> None:
    """Directly the list depends on the client; through the gateway on the policies, and the call on the client."""
    async with ways.directly(back) as speaker:
        few = {tool["name"] for tool in await speaker.every("tools/list", "tools")}
    async with ways.directly(back, **ABLE) as speaker:
        many = {tool["name"] for tool in await speaker.every("tools/list", "tools")}
    for capabilities in ({}, ABLE):
        async with ways.through(back, "legacy", **capabilities) as speaker:
            assert {tool["name"] for tool in await speaker.every("tools/list", "tools")} == many > few
            answer = await speaker.call("trigger-sampling-request", {"prompt": "?"})
            assert answer["result"].get("isError", False) is (not capabilities)


RESEARCH = {"name": "simulate-research-query", "arguments": {"topic": "x", "ambiguous": True}, "task": {"ttl": 60_000}}
DIFFERS = ("taskId", "createdAt", "lastUpdatedAt")


def masked(value: Any) -> Any:
    """Return a value without what differs from one task to the next."""
    if isinstance(value, list):
        return [masked(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: "…" if name in DIFFERS else masked(each) for name, each in value.items()}


async def researched(speaker: Speaker) -> list[Any]:
    """Have a task carried out that asks a question; return what was seen of it."""
    begun = (await speaker.ask("tools/call", RESEARCH))["result"]
    task_id = begun["task"]["taskId"]
    result = await speaker.ask("tasks/result", {"taskId": task_id})
    over = await speaker.ask("tasks/get", {"taskId": task_id})
    listed = [task for task in (await speaker.ask("tasks/list"))["result"]["tasks"] if task["taskId"] == task_id]
    again = (await speaker.ask("tasks/cancel", {"taskId": task_id}))["error"]["code"]
    assert all(task_id in json.dumps(each) for each in (begun, result, over, speaker.asked))
    return [masked(each) for each in (begun, result, over, listed, speaker.asked, again)]


@pytest.mark.parametrize("back", BACKS)
async def test_a_task_in_which_the_server_asks_is_the_same(ways: Ways, back: str) -> None:
    able = {"elicitation": {"form": {}}}
    async with ways.directly(back, **able) as direct, ways.through(back, "legacy", **able) as gated:
        expected, found = await asyncio.gather(researched(direct), researched(gated))
        assert found == expected


async def test_a_tool_that_is_only_a_task_answers_a_client_that_knows_none(ways: Ways) -> None:
    able = {"elicitation": {"form": {}}}
    async with ways.directly("http", **able) as direct, ways.through("http", "modern", **able) as gated:
        call = {name: each for name, each in RESEARCH.items() if name != "task"}
        seen, found = await asyncio.gather(researched(direct), gated.ask("tools/call", call))
    assert found["result"]["content"] == seen[1]["result"]["content"]
    assert "related-task" not in json.dumps(found)
    assert len(gated.asked) == 1


async def test_what_is_only_a_task_at_its_server_is_one_to_a_client_of_the_later_era_too(ways: Ways) -> None:
    able: Any = {"elicitation": {"form": {}}}
    later = {**able, "extensions": {"io.modelcontextprotocol/tasks": {}}}
    async with ways.directly("http", **able) as direct, ways.through("http", "modern", **later) as gated:
        call = {name: each for name, each in RESEARCH.items() if name != "task"}
        seen = await researched(direct)
        state = (await gated.ask("tools/call", call))["result"]
        assert state["resultType"] == "task"
        about = {"taskId": state["taskId"]}
        while state["status"] in {"working", "input_required"}:
            state = (await gated.ask("tasks/get", about))["result"]
            if state.get("inputRequests"):
                answers = await gated.replies(state)
                await gated.ask("tasks/update", {**about, **answers})
    assert state["result"]["content"] == seen[1]["result"]["content"]
    assert [masked(each) for each in gated.asked] == [masked(each) for each in direct.asked]
