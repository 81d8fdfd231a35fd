"""A gateway that goes and comes back in the middle of something: what the client sees, and what the server did."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.live.running import Running
from tests.live.speaking import HttpWire, Pending, Speaker, over_http
from tests.live.ways.backs import AGENT, Back, backs, configuration
from tests.live.ways.server import STEPS, URI

ELICIT = {"elicitation": {"form": {}}}
KEY = "io.toolgate/idempotency-key"
GONE = -31410
EVERY = ("legacy-http", "modern-http")
BACKS = EVERY if os.environ.get("TOOLGATE_EVERY_DOOR") else EVERY[:1]
"""With TOOLGATE_EVERY_DOOR set, all is done in front of both eras, which takes twice as long."""


class House:
    """A gateway on one port, whatever becomes of its process, in front of servers that stay."""

    def __init__(self, home: Path, servers: dict[str, Back]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.servers = servers
        config = configuration(servers)
        config["server"]["listen"] = address
        home.mkdir()
        (home / "gateway.yaml").write_text(json.dumps(config), encoding="utf-8")
        self.running = Running(home).start()
        self.token = self.running.token(AGENT)

    async def again(self, *, kill: bool) -> None:
        """End the gateway, as a crash does or as it should, and start it again."""
        await asyncio.to_thread(self.running.kill if kill else self.running.stop)
        await asyncio.to_thread(self.running.start)

    @asynccontextmanager
    async def speaker(self, back: str, *, modern: bool, **capabilities: Any) -> AsyncIterator[Speaker]:
        url = f"{self.running.url}/mcp/{back}"
        async with over_http(url, modern=modern, token=self.token, capabilities=capabilities) as speaker:
            yield speaker


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home: Path = tmp_path_factory.mktemp("restart")
    with backs(home, *EVERY) as servers:
        house = House(home / "gate", servers)
        yield house
        house.running.stop()


def wire_of(speaker: Speaker) -> HttpWire:
    assert isinstance(speaker.wire, HttpWire)
    return speaker.wire


def calling(tool: str, name: str) -> dict[str, Any]:
    return {"name": tool, "arguments": {"name": name}}


async def broken_off(pending: Pending) -> None:
    """See that the connection broke before the answer."""
    with pytest.raises((EOFError, httpx2.HTTPError)):
        await pending.wait()


@pytest.mark.parametrize("back", BACKS)
async def test_a_session_goes_on_as_if_nothing_had_happened(house: House, back: str) -> None:
    async with house.speaker(back, modern=False) as speaker:
        house.servers[back].go(f"session-{back}")
        session = wire_of(speaker).session
        await house.again(kill=True)
        answer = await speaker.ask("tools/call", calling("work", f"session-{back}"))
        assert answer["result"]["content"] == [{"type": "text", "text": f"worked on session-{back}"}]
        assert wire_of(speaker).session == session
    assert house.servers[back].notes(f"session-{back}") == ["started", "finished"]


async def heard_update(speaker: Speaker, back: str) -> bool:
    await speaker.call("touch", {"name": back})
    with suppress(TimeoutError):
        await speaker.until(lambda: speaker.of("resources/updated"), 2)
    return {each["uri"] for each in speaker.of("resources/updated")} == {URI}


@pytest.mark.parametrize("back", BACKS)
async def test_a_sessions_subscription_is_there_again_once_its_stream_is(house: House, back: str) -> None:
    async with house.speaker(back, modern=False) as speaker:
        assert (await speaker.ask("resources/subscribe", {"uri": URI}))["result"] == {}
        assert await heard_update(speaker, back)
        await house.again(kill=True)
        speaker.heard.clear()
        wire_of(speaker).listening.clear()
        speaker.wire.begin()
        await wire_of(speaker).listening.wait()
        assert await heard_update(speaker, back)


@pytest.mark.parametrize("back", BACKS)
async def test_a_subscription_without_a_session_ends_with_the_gateway_and_is_made_anew(house: House, back: str) -> None:
    wanted = {"notifications": {"resourceSubscriptions": [URI]}}
    async with house.speaker(back, modern=True) as speaker:
        pending = await speaker.begin("subscriptions/listen", wanted)
        await speaker.until(lambda: speaker.of("subscriptions/acknowledged"))
        assert await heard_update(speaker, back)
        await house.again(kill=False)
        assert (await pending.wait())["result"]["resultType"] == "complete"
        speaker.heard.clear()
        await speaker.begin("subscriptions/listen", wanted)
        await speaker.until(lambda: speaker.of("subscriptions/acknowledged"))
        assert await heard_update(speaker, back)


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("modern", [True, False])
async def test_a_call_that_can_end_before_the_gateway_does_is_answered(house: House, back: str, modern: bool) -> None:
    name = f"drain-{back}-{modern}"
    async with house.speaker(back, modern=modern) as speaker:
        pending = await speaker.begin("tools/call", calling("build", name), progressToken=1)
        await speaker.until(lambda: len(speaker.of("progress")) == STEPS)
        going = asyncio.ensure_future(house.again(kill=False))
        house.servers[back].go(name)
        answer = await pending.wait()
        assert answer["result"]["content"] == [{"type": "text", "text": f"worked on {name}"}]
        await going
    assert house.servers[back].notes(name) == ["started", "finished"]


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("modern", [True, False])
async def test_a_long_call_cut_off_is_in_doubt_and_never_made_again(house: House, back: str, modern: bool) -> None:
    name = f"cut-{back}-{modern}"
    async with house.speaker(back, modern=modern) as speaker:
        meta = {"progressToken": 1, KEY: name}
        pending = await speaker.begin("tools/call", calling("build", name), **meta)
        await speaker.until(lambda: len(speaker.of("progress")) == STEPS)
        await house.again(kill=True)
        await broken_off(pending)
        house.servers[back].go(name)
        if not modern:  # a client that comes back for the rest is told that it is gone
            resumed = await gone_on(speaker, pending)
            assert resumed["error"]["code"] == GONE
        assert in_doubt((await speaker.ask("tools/call", calling("build", name), **{KEY: name}))["result"])
    assert house.servers[back].notes(name).count("started") == 1


async def gone_on(speaker: Speaker, pending: Pending) -> dict[str, Any]:
    """Come back for the rest of an answer, with the latest event that was got of it; return what is said instead."""
    heard: list[dict[str, Any]] = []
    take, speaker.wire.take = speaker.wire.take, heard.append
    await wire_of(speaker).resume(wire_of(speaker).last_event)
    speaker.wire.take = take
    return next(message for message in heard if message.get("id") == pending.id)


@pytest.mark.parametrize("back", BACKS)
async def test_a_question_in_a_session_dies_with_the_gateway_and_nothing_is_done(house: House, back: str) -> None:
    name = f"asked-{back}"
    server = house.servers[back]
    async with house.speaker(back, modern=False, **ELICIT) as speaker:
        late: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        speaker.answer = lambda question: late
        pending = await speaker.begin("tools/call", calling("ask", name))
        await speaker.until(lambda: speaker.asked)
        await house.again(kill=True)
        late.set_result({"action": "accept", "content": {"ok": True}})
        await broken_off(pending)
        assert (await gone_on(speaker, pending))["error"]["code"] == GONE
        again = (await speaker.ask("tools/call", calling("ask", name)))["result"]
        assert in_doubt(again)
    assert server.notes(name) == ["asked"]


@pytest.mark.parametrize("back", EVERY)
async def test_a_question_to_a_client_without_sessions_is_answered_once_or_never(house: House, back: str) -> None:
    """The state that a modern server gave outlives the gateway; the call that waited in a legacy server does not."""
    name = f"state-{back}"
    server = house.servers[back]
    async with house.speaker(back, modern=True, **ELICIT) as speaker:
        params = calling("ask", name)
        first = (await (await speaker.begin("tools/call", params)).wait())["result"]
        assert first["resultType"] == "input_required"
        await house.again(kill=True)
        repeated = {**params, **await speaker.replies(first)}
        second = await (await speaker.begin("tools/call", repeated)).wait()
        if back == "modern-http":
            assert second["result"]["content"] == [{"type": "text", "text": f"did {name}: accept"}]
        else:
            assert second["error"]["code"] == -32602
            assert in_doubt((await speaker.ask("tools/call", params))["result"])
        third = await (await speaker.begin("tools/call", repeated)).wait()
        assert third["error"]["code"] == -32602  # a state is good for one answer
    assert server.notes(name) == (["asked", "did"] if back == "modern-http" else ["asked"])


def in_doubt(result: dict[str, Any]) -> bool:
    """Tell whether a call is refused because nobody knows what came of it when it was sent before."""
    refusal = result["_meta"]["io.toolgate/refusal"]
    return result["isError"] is True and refusal["retryable"] is False and refusal["code"] == "outcome_unknown"
