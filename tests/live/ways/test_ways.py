"""Progress and cancellation from end to end: every front, every back, both transports on both sides."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.live.inside import Inside, inside
from tests.live.running import environment
from tests.live.speaking import ABLE, ANSWERS, Pending, Speaker, over_http, over_stdio
from tests.live.ways.backs import AGENT, BACKS, Back, backs, configuration
from tests.live.ways.server import APP, PAGE, STEPS, URI

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRONTS = ("modern-http", "legacy-http", "modern-stdio", "legacy-stdio")
EVERY_WAY = [(front, back) for front in FRONTS for back in BACKS]
NOTHING: Mapping[str, Any] = {}
_names = (f"n{number}" for number in count())


class Gates:
    """One gateway in front of every server."""

    def __init__(self, gate: Inside, servers: dict[str, Back]) -> None:
        self.gate = gate
        self.servers = servers

    @asynccontextmanager
    async def speaker(self, front: str, back: str, able: Mapping[str, Any] = NOTHING) -> AsyncIterator[Speaker]:
        era, _, transport = front.partition("-")
        modern = era == "modern"
        if transport == "http":
            token = self.gate.tokens[AGENT]
            async with over_http(f"{self.gate.url}/{back}", modern=modern, token=token, capabilities=able) as speaker:
                yield speaker
            return
        config = ["--config", str(self.gate.home / "gateway.yaml"), "--agent", AGENT, "--endpoint", back]
        bridge = [sys.executable, "-m", "gateway", "stdio", *config]
        async with over_stdio(bridge, modern=modern, env=environment(), capabilities=able) as speaker:
            yield speaker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gates(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gates]:
    home: Path = tmp_path_factory.mktemp("ways")
    with backs(home) as servers:
        async with inside(home, json.dumps(configuration(servers))) as gate:
            async with asyncio.timeout(30):
                while not all(gate.gateway.rules.current.catalog_at(name).tools() for name in servers):
                    await asyncio.sleep(0.05)
            yield Gates(gate, servers)


async def begun(speaker: Speaker, name: str, tool: str = "work") -> Pending:
    """Begin a call that waits; it has told of its progress when this returns."""
    params = {"name": tool, "arguments": {"name": name}}
    pending = await speaker.begin("tools/call", params, progressToken=f"of {name}")
    await speaker.until(lambda: len(speaker.of("progress")) == STEPS)
    return pending


def answer_of(pending: Pending) -> dict[str, Any]:
    """Return what came of a call that was called off; an empty object for nothing."""
    if not pending.answer.done() or pending.answer.exception() is not None:
        return {}
    return pending.answer.result()


@pytest.mark.parametrize(("front", "back"), EVERY_WAY)
async def test_progress_comes_before_the_answer_step_by_step(gates: Gates, front: str, back: str) -> None:
    name = next(_names)
    async with gates.speaker(front, back) as speaker:
        pending = await begun(speaker, name)
        told = speaker.of("progress")
        assert not pending.answer.done()
        gates.servers[back].go(name)
        answer = await pending.wait()
    assert [(each["progress"], each["total"], each["message"]) for each in told] == [
        (step, STEPS, f"step {step}") for step in range(1, STEPS + 1)
    ]
    assert {each["progressToken"] for each in told} == {f"of {name}"}
    assert answer["result"]["content"] == [{"type": "text", "text": f"worked on {name}"}]


@pytest.mark.parametrize(("front", "back"), EVERY_WAY)
async def test_calling_a_read_off_ends_the_servers_work_and_no_other(gates: Gates, front: str, back: str) -> None:
    name, other = next(_names), next(_names)
    server = gates.servers[back]
    async with gates.speaker(front, back) as speaker:
        kept = await speaker.begin("tools/call", {"name": "work", "arguments": {"name": other}})
        await server.until("started", other)
        pending = await begun(speaker, name)
        await pending.cancel()
        await server.until("cancelled", name)
        server.go(other)
        assert (await kept.wait())["result"]["content"] == [{"type": "text", "text": f"worked on {other}"}]
        if front == "legacy-http":  # whose response needs an end
            assert (await pending.wait())["error"]["code"] == -32800
        else:
            assert answer_of(pending) == {}
    assert server.notes(name) == ["started", "cancelled"]
    assert server.notes(other) == ["started", "finished"]


@pytest.mark.parametrize(("front", "back"), EVERY_WAY)
async def test_an_effect_ends_by_its_clients_word_and_not_by_a_closed_connection(
    gates: Gates, front: str, back: str
) -> None:
    """In 2026-07-28 a client has no other word for it, and a connection also breaks by itself: the effect goes on."""
    name = next(_names)
    server = gates.servers[back]
    async with gates.speaker(front, back) as speaker:
        pending = await begun(speaker, name, "build")
        await pending.cancel()
        if front.startswith("modern"):
            server.go(name)
            await server.until("finished", name)
            assert server.notes(name) == ["started", "finished"]
            assert answer_of(pending) == {}
            return
        await server.until("cancelled", name)
        if front == "legacy-http":
            said = (await pending.wait())["result"]["_meta"]["io.toolgate/refusal"]
            assert (said["code"], said["retryable"]) == ("outcome_unknown", False)
        else:
            assert answer_of(pending) == {}
    assert server.notes(name) == ["started", "cancelled"]


@pytest.mark.parametrize(("front", "back"), EVERY_WAY)
async def test_an_app_and_its_page_pass_as_they_are(gates: Gates, front: str, back: str) -> None:
    async with gates.speaker(front, back) as speaker:
        tools = await speaker.every("tools/list", "tools")
        assert [tool["_meta"] for tool in tools] == [APP] * len(tools) != []
        found = await speaker.ask("resources/read", {"uri": PAGE["uri"]})
        assert found["result"]["contents"] == [PAGE]


@pytest.mark.parametrize(("front", "back"), EVERY_WAY)
async def test_a_client_is_asked_everything_it_can_be_asked_and_answers(gates: Gates, front: str, back: str) -> None:
    name = next(_names)
    async with gates.speaker(front, back, ABLE) as speaker:
        answer = await speaker.call("inquire", {"name": name})
    told = json.loads(answer["result"]["content"][0]["text"])
    assert told["form"] == ANSWERS["elicitation/create"]
    assert told["model"]["content"] == ANSWERS["sampling/createMessage"]["content"]
    assert told["roots"]["roots"] == ANSWERS["roots/list"]["roots"]
    asked = {each["method"]: each.get("params", {}) for each in speaker.asked}
    assert (len(speaker.asked), set(asked)) == (3, set(ANSWERS))
    assert asked["elicitation/create"]["message"] == f"Who is {name}?"
    assert asked["sampling/createMessage"]["maxTokens"] == 100


@pytest.mark.parametrize(("front", "back"), EVERY_WAY)
async def test_prompts_completion_and_news_of_a_resource_pass(gates: Gates, front: str, back: str) -> None:
    async with gates.speaker(front, back) as speaker:
        prompts = await speaker.every("prompts/list", "prompts")
        assert [(prompt["name"], prompt["arguments"]) for prompt in prompts] == [("plan", [{"name": "who"}])]
        plan = await speaker.ask("prompts/get", {"name": "plan", "arguments": {"who": "Ada"}})
        assert plan["result"]["messages"][0]["content"] == {"type": "text", "text": "plan of {'who': 'Ada'}"}
        about = {"ref": {"type": "ref/prompt", "name": "plan"}, "argument": {"name": "who", "value": "A"}}
        completed = (await speaker.ask("completion/complete", about))["result"]["completion"]
        assert completed == {"values": ["Ada"], "total": 1, "hasMore": False}
        if front.startswith("modern"):
            await speaker.begin("subscriptions/listen", {"notifications": {"resourceSubscriptions": [URI]}})
            await speaker.until(lambda: speaker.of("subscriptions/acknowledged"))
        else:
            assert (await speaker.ask("resources/subscribe", {"uri": URI}))["result"] == {}
        await speaker.call("touch", {"name": next(_names)})
        await speaker.until(lambda: speaker.of("resources/updated"))
    assert speaker.of("resources/updated")[0]["uri"] == URI
