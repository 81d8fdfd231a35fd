"""What was handed on to a registered agent waits for people as a task of its own, and is made only while it is its."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.identity.tokens import Tokens
from gateway.ledger.trace import CallLine, run_lines
from gateway.model.clock import RandomIds
from gateway.store.ports import EventFilter
from tests.live.inside import Inside, call, code, inside
from tests.live.raw import Peer
from tests.live.test_delegation import CHECK, CONFIG, PEOPLE, POLICY, given_to, is_refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home = tmp_path_factory.mktemp("handed")
    (home / "policies").mkdir()
    (home / "policies" / "children.cedar").write_text(POLICY, encoding="utf-8")
    async with inside(home, CONFIG + PEOPLE) as running:
        yield running


def as_task(gate: Inside, agent: str = "researcher") -> Peer:
    """Return a client of 2026-07-28 that follows tasks, of one of the agents."""
    return Peer(gate.url.removesuffix("/mcp"), gate.tokens[agent])


async def rpc(peer: Peer, method: str, params: dict[str, Any], run: str = "") -> Any:
    """Ask something as a client that follows tasks, perhaps in a run."""
    meta = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
    return await peer.rpc(method, {**params, "_meta": {**meta, **({"io.toolgate/run": run} if run else {})}})


async def started(peer: Peer, run: str, arguments: dict[str, Any]) -> str:
    """Make a call in a run that waits for people as a task; return the task's id."""
    result = (await rpc(peer, "tools/call", {"name": "fraud_check", "arguments": arguments}, run)).result
    assert result["resultType"] == "task", result
    return str(result["taskId"])


async def over(gate: Inside, peer: Peer, task_id: str) -> dict[str, Any]:
    """Return how a task stands once it is over."""
    while (state := (await rpc(peer, "tasks/get", {"taskId": task_id})).result)["status"] == "working":
        await asyncio.sleep(0.05)
        gate.clock.ms += 1000  # what failed is tried again after a while
    return state


async def approve_what(gate: Inside, task_id: str) -> None:
    begun = [each async for each in gate.gateway.store.events(EventFilter()) if each.kind == "task.begun"]
    [approval] = [
        body["approval"] for body in map(json.loads, (each.body for each in begun)) if body["task"] == task_id
    ]
    await gate.gateway.approving.desk.approve("bob@acme.example", approval)


async def made_of(gate: Inside, run: str, payment_id: str) -> list[CallLine]:
    """Return the calls about a payment that were carried out in a run."""
    lines = [each for each in await run_lines(gate.gateway.store, run) if each.tool == "fraud.check"]
    return [
        each for each in lines if (each.outcome, each.asked["arguments"]["payment_id"]) == ("succeeded", payment_id)
    ]


async def closed(gate: Inside, task_id: str) -> None:
    while any(held.record.id == task_id for held in gate.gateway.task_requests.tasks.waiting()):
        await asyncio.sleep(0.05)


async def test_what_a_registered_agent_was_handed_waits_for_people_as_a_task_that_it_follows_as_itself(
    gate: Inside,
) -> None:
    asks, peer, thief = {**CHECK, "payee": "EVE", "payment_id": "task"}, as_task(gate), as_task(gate, "payer")
    async with gate.client("modern") as payer:
        run = (await given_to(payer, "researcher", "fraud.check"))["run"]
    task_id = await started(peer, run, asks)
    for named in ("", run):
        assert (await rpc(peer, "tasks/get", {"taskId": task_id}, named)).result["status"] == "working"
    assert (await rpc(thief, "tasks/get", {"taskId": task_id}, run)).code == -32602
    await approve_what(gate, task_id)
    assert (await over(gate, peer, task_id))["status"] == "completed"
    [line] = await made_of(gate, run, "task")
    assert (line.agent, line.who, line.delegation) == ("researcher", "payer:researcher", ("payer:researcher", "payer"))


async def test_nothing_is_carried_out_for_who_was_handed_work_that_was_taken_back_while_it_waited(gate: Inside) -> None:
    peer, asked = as_task(gate), {**CHECK, "payee": "EVE"}
    async with gate.client("modern") as payer:
        told = await given_to(payer, "researcher", "fraud.check")
        waits, other = [await started(peer, told["run"], {**asked, "payment_id": each}) for each in ("w1", "w2")]
        assert code(await call(payer, "run_revoke", {"child": told["child"]})) == "ok"
        await approve_what(gate, waits)
        await closed(gate, waits)
        assert "delegation_refused" in str((await rpc(peer, "tasks/get", {"taskId": waits})).error)
        again = await given_to(payer, "researcher", "payments.history")
        assert again["run"] == told["run"]  # what was handed on last counts
        await approve_what(gate, other)
        await closed(gate, other)
    for each in ("w1", "w2"):
        assert await made_of(gate, told["run"], each) == []


async def test_a_task_of_work_that_was_handed_on_outlives_a_restart(gate: Inside) -> None:
    peer = as_task(gate)
    async with gate.client("modern") as payer:
        run = (await given_to(payer, "researcher", "fraud.check"))["run"]
    task_id = await started(peer, run, {**CHECK, "payee": "EVE", "payment_id": "later"})
    tasks = gate.gateway.task_requests.tasks
    tasks._open.clear()  # as a process that comes after this one
    await tasks.revive()
    await approve_what(gate, task_id)
    assert (await over(gate, peer, task_id))["status"] == "completed"


async def test_who_has_a_new_token_meanwhile_asks_about_its_task_and_it_is_still_what_was_handed_on(
    gate: Inside,
) -> None:
    async with gate.client("modern") as payer:
        told = await given_to(payer, "researcher", "fraud.check")
    old = as_task(gate)
    waits, other = [
        await started(old, told["run"], {**CHECK, "payee": "EVE", "payment_id": each}) for each in ("n1", "n2")
    ]
    issued = await Tokens(gate.gateway.store, gate.clock, RandomIds()).rotate("researcher", overlap_ms=0)
    gate.tokens["researcher"] = issued.token
    while not await is_refused(gate, old.token) or await is_refused(gate, issued.token):
        await asyncio.sleep(0.02)
    peer = as_task(gate)
    await approve_what(gate, waits)
    assert (await over(gate, peer, waits))["status"] == "completed"
    [line] = await made_of(gate, told["run"], "n1")
    assert line.who == "payer:researcher"
    async with gate.client("modern") as payer:
        await call(payer, "run_revoke", {"child": told["child"]})
    await approve_what(gate, other)
    assert "delegation_refused" in str((await rpc(peer, "tasks/get", {"taskId": other})).error)
    assert await made_of(gate, told["run"], "n2") == []
