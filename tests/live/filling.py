"""A gateway that did every kind of work, so that its database holds rows of every table."""

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.store.ports import PauseRecord
from tests.live.inside import Inside, inside
from tests.live.raw import Peer, probe_section, probes
from tests.live.running import ENVELOPE
from tests.live.tasking.server import TASKS
from tests.live.tasking.serving import task_servers

__all__ = ["fill"]

APPROVALS = """
@id("ask") @obligation("approval:owners")
forbid (principal, action == Gateway::Action::"probe.odd", resource)
unless { context.base has approval && context.base.approval.argsMatch };
@id("may-approve") permit (principal in Gateway::Role::"owners", action == Gateway::Action::"approve", resource);
"""
MORE = """
tools:
  probe.act: { effect: write }
people:
  bob: { roles: [owners] }
approvals: { wait_s: 0 }
budgets: { runs: { calls: 100 }, org: { calls: 1000/hour } }
facts: { names: { limit: { type: number } } }
policies: [rules]
"""


async def fill(home: Path) -> dict[str, str]:
    """Run a gateway in a folder, have it do every kind of work, and stop it; return the agents' tokens."""
    (home / "rules").mkdir()
    (home / "rules" / "ask.cedar").write_text(APPROVALS, encoding="utf-8")
    with task_servers(home, "modern") as servers:
        sections = "".join(f"  {name}: {json.dumps(dict(back.section))}\n" for name, back in servers.items())
        async with inside(home, probes(probe_section(home / "probe") + sections, more=MORE)) as gate:
            await work(gate, next(iter(servers)))
            return gate.tokens


async def work(gate: Inside, jobs: str) -> None:
    """Have every table filled, by calls as agents and people make them."""
    store, clock = gate.gateway.store, gate.clock
    for agent in ("payer", "payer2"):
        for era in ("modern", "legacy"):
            known = await Peer(gate.url, gate.tokens[agent], era).connect()
            assert (await known.call("probe_act", {"n": agent})).code == "ok"
            assert (await known.call("probe_echo", {"n": era})).code == "ok"
            assert (await known.call("probe_die", {"n": era})).code in {"ok", "outcome_unknown", "error", "unavailable"}
            assert (await known.call("nothing")).code == "unknown_tool"
        assert (await known.call("run_start")).code == "ok"
        for limit in (5, 6):
            put = {"scope": "run", "name": "limit", "value": limit}
            assert (await known.call("facts_put", {**put, **({"version": 1} if limit == 6 else {})})).code == "ok"
        await asked(gate, known, agent)
        await begun(gate, jobs, agent)
        clock.ms += 1000
    for scope in ("agent:clerk", "tool:probe.leak", "all"):
        await store.put_pause(PauseRecord(scope, clock.now_ms(), "os:ann", "drill"))
    await store.end_pause(PauseRecord("all", clock.now_ms(), "os:ann"))
    for number in range(2):  # as a client of 2026-07-28 that comes back with its answers
        await store.spend(f"nonce-{number}", clock.now_ms() + 1000 + number, clock.now_ms())


async def asked(gate: Inside, known: Peer, agent: str) -> None:
    """Wait for a person twice: one call is approved and made, the other still waits."""
    for number in range(2):
        assert (await known.call("probe_odd", {"n": number, "for": agent})).code == "needs_approval"
    desk = gate.gateway.approving.desk
    waiting = [each for each in await desk.listed() if each.agent == agent]
    assert len(waiting) == 2
    await desk.approve("bob", waiting[-1].id)
    for number in range(2):
        await known.call("probe_odd", {"n": number, "for": agent})


async def begun(gate: Inside, server: str, agent: str) -> None:
    """Begin a task that ends, and one that does not."""
    known = await Peer(gate.url, gate.tokens[agent]).connect()
    able = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}
    for name in (f"ends-{agent}", f"stays-{agent}"):
        params = {"name": f"{server}_build", "arguments": {"name": name}, "_meta": {**ENVELOPE, **able}}
        answer = await known.rpc("tools/call", params)
        task = str(answer.result["taskId"])
        (gate.home / server / f"go-{name}").touch() if name.startswith("ends") else None
        while name.startswith("ends") and await status(known, task, able) != "completed":
            await asyncio.sleep(0.02)


async def status(known: Peer, task: str, able: Any) -> str:
    params = {"taskId": task, "_meta": {**ENVELOPE, **able}}
    answer = await known.rpc("tasks/get", params, Mcp_Name=task)
    return str(answer.result["status"])
