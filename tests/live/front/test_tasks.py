"""A task is no way round: what is asked of one is decided as its call, for its principal alone, on every method."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.live.front.attack import events, peer
from tests.live.inside import Inside, inside
from tests.live.raw import ERAS, Answer, Peer
from tests.live.running import ENVELOPE
from tests.live.tasking.server import TASKS
from tests.live.tasking.serving import task_servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = {
    "legacy": ("tasks/get", "tasks/result", "tasks/cancel"),
    "modern": ("tasks/get", "tasks/update", "tasks/cancel"),
}
ABLE = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}
ODD: list[Any] = [None, 0, True, 1.5, [], {}, "", "\0", "x" * 70_000, 10**3000, "\ud800", "task_0", "../task_0"]
POLICY = """
@id("may") permit (principal, action, resource) when { principal != Gateway::Agent::"nobody" };
@id("shut") forbid (principal == Gateway::Agent::"payer2", action in Gateway::Action::"call_tool", resource);
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("task-front")
    (home / "policies").mkdir()
    (home / "policies" / "front.cedar").write_text(POLICY, encoding="utf-8")
    with task_servers(home) as servers:
        config = {
            "version": 1,
            "server": {"listen": "127.0.0.1:0", "store": "sqlite:///data/gateway.db"},
            "mcpServers": {name: back.section for name, back in servers.items()},
            "agents": {name: {"auth": {"token": True}} for name in ("payer", "payer2", "nobody")},
            "policies": ["./policies/front.cedar"],
        }
        async with inside(home, json.dumps(config)) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def still_answers(gate: Inside) -> AsyncIterator[None]:
    yield
    for era in ERAS:
        good = await peer(gate, era)
        assert (await good.call(f"jobs-{era}_build", {"name": "still"})).code == "ok"


def reached(gate: Inside, era: str) -> list[Any]:
    """Return what the server was asked, but for how a task stands, which the gateway asks by itself."""
    path = gate.home / f"jobs-{era}" / "got.jsonl"
    asked = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return [each for each in asked if each[0] != "tasks/get"]


async def ask(known: Peer, method: str, params: dict[str, Any], **changes: str | None) -> Answer:
    """Send a request of a client that follows tasks."""
    said = {**params, "_meta": {**ENVELOPE, **ABLE}} if known.era == "modern" else params
    named = {"Mcp_Name": str(params["name"])} if known.era == "modern" and "name" in params else {}
    return await known.rpc(method, said, **{**named, **changes})


async def begun(gate: Inside, era: str, name: str, agent: str = "payer") -> tuple[Peer, str]:
    """Return a client and a task of its own."""
    known = await peer(gate, era, agent)
    call = {"name": f"jobs-{era}_build", "arguments": {"name": name}, **({"task": {}} if era == "legacy" else {})}
    result = (await ask(known, "tools/call", call)).result
    return known, str((result["task"] if era == "legacy" else result)["taskId"])


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_is_there_for_its_agent_alone(gate: Inside, era: str) -> None:
    owner, task_id = await begun(gate, era, f"own-{era}")
    before, recorded = len(reached(gate, era)), len(await events(gate))
    for agent in ("payer2", "nobody"):
        thief = await peer(gate, era, agent)
        for method in METHODS[era]:
            answer = await ask(thief, method, {"taskId": task_id, "inputResponses": {}})
            assert (answer.code, answer.error["message"]) == (-32602, "There is no such task of yours."), method
        if era == "legacy":
            assert (await ask(thief, "tasks/list", {})).result == {"tasks": []}
            thief.session = owner.session
            for method in (*METHODS[era], "tasks/list"):
                assert (await ask(thief, method, {"taskId": task_id})).status == 404, method
    for method in METHODS[era]:
        assert (await ask(owner, method, {"taskId": task_id}, Authorization="Bearer x")).status == 401
    assert len(reached(gate, era)) == before
    said = [each.tool for each in (await events(gate))[recorded:] if each.agent in {"payer2", "nobody"}]
    assert said == [*METHODS[era]] * (4 if era == "legacy" else 2)  # and what came with another's session
    assert (await ask(owner, "tasks/get", {"taskId": task_id})).result["status"] == "working"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:20])
async def test_a_task_id_of_any_kind_leads_nowhere(gate: Inside, era: str, odd: Any) -> None:
    known, _ = await begun(gate, era, f"odd-{era}")
    before = len(reached(gate, era))
    for method in METHODS[era]:
        answer = await ask(known, method, {"taskId": odd, "inputResponses": {}})
        assert answer.status in {200, 400}, answer.body[:200]
        assert answer.code in {-32602, -32700}, (method, answer.body[:200])
    for more in ({"task": odd}, {"_meta": {**ENVELOPE, **ABLE, "io.modelcontextprotocol/related-task": odd}}):
        call = {"name": f"jobs-{era}_build", "arguments": {"name": f"odd-{era}"}, **more}
        assert (await known.rpc("tools/call", call, Mcp_Name=call["name"])).status in {200, 400}
    assert [method for method, _ in reached(gate, era)[before:] if method != "tools/call"] == []


async def test_who_follows_no_tasks_is_told_what_is_missing(gate: Inside) -> None:
    known, task_id = await begun(gate, "modern", "declared")
    for method in METHODS["modern"]:
        assert (await known.rpc(method, {"taskId": task_id, "inputResponses": {}})).code == -32021
    assert (await ask(known, "tasks/get", {"taskId": task_id}, Mcp_Name="task_0")).code == -32020
    assert (await ask(known, "tasks/get", {"taskId": task_id}, Mcp_Name=task_id)).result["taskId"] == task_id


@pytest.mark.parametrize("era", ERAS)
async def test_a_permission_that_is_lost_is_lost_for_the_tasks_too(gate: Inside, era: str) -> None:
    """Comes last: it takes the permission away for good."""
    known, task_id = await begun(gate, era, f"lost-{era}")
    before, recorded = len(reached(gate, era)), len(await events(gate))
    policy = gate.home / "policies" / "front.cedar"
    policy.write_text(POLICY.replace("payer2", "payer"), encoding="utf-8")
    assert await gate.gateway.reload(gate.gateway.config) == ""
    try:
        for method in METHODS[era]:
            answer = await ask(known, method, {"taskId": task_id, "inputResponses": {}})
            assert (answer.code, answer.error["data"]["policies"]) == (-31403, ["shut"]), method
        listed = await ask(known, "tasks/list", {})
        assert listed.code == -32601 if era == "modern" else listed.result == {"tasks": []}
    finally:
        policy.write_text(POLICY, encoding="utf-8")
        await gate.gateway.reload(gate.gateway.config)
    assert len(reached(gate, era)) == before
    said = [each.tool for each in (await events(gate))[recorded:] if each.agent == "payer"]
    assert said == [f"jobs-{era}.{method}" for method in METHODS[era]]
