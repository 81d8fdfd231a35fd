"""A secret in every input that an agent, a server or another system has: no row, log, trace or export holds it."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from gateway.cli import build
from gateway.credentials.secrets import SecretStore
from gateway.pipeline.rollback import Rollback
from gateway.store.ports import EventKind, PauseRecord
from tests.connectors.inbox.senders import SECRET as SIGNING
from tests.connectors.inbox.senders import body_of, standard
from tests.live.front.attack import SECRET, events
from tests.live.inside import Inside, inside
from tests.live.raw import Peer, probe_section, probes, received
from tests.live.running import ENVELOPE
from tests.live.tasking.server import TASKS
from tests.live.tasking.serving import task_servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = "canary-of-the-model-0123456789"
"""A secret that the gateway does not know, in a place where secrets are."""

TAINT = """
@id("tainted") forbid (principal, action == Gateway::Action::"probe.wait", resource)
when { context.base.taint.contains("untrusted") };
"""
MORE = """
tools:
  probe.act: { effect: write, undo: { tool: probe.odd, arguments: { n: input.n } } }
  probe.exact: { effect: read, cache: 10m }
  frail.die_read: { effect: read, fallback: [probe.echo] }
taint: { trusted_from: 1, private_from: 1, window: 24h }
policies: [rules]
facts: { names: { note: { type: string } } }
resilience: { max_attempts: 1 }
"""


@dataclass(frozen=True)
class Kept:
    """What is left of a gateway that was told secrets everywhere."""

    home: Path
    log: str
    kinds: frozenset[EventKind]


async def tell(gate: Inside, jobs: str) -> None:
    """Put the secrets into every input of what came to be on record."""
    told = {"note": f"it is {SECRET}", "password": OTHER, "text": f"Authorization: Bearer {OTHER}"}
    known = await Peer(gate.url, gate.tokens["payer"]).connect()
    run = {"io.toolgate/run": "work"}
    for tool in ("probe_act", "probe_leak", "probe_fail", "frail_die_read"):
        await known.call(tool, {"n": 1, **told}, run)
    for _ in range(2):
        assert (await known.call("probe_exact", {"text": told["note"]}, run)).code == "ok"  # then from the cache
    for _ in range(12):
        await known.call("probe_echo", told, run)  # a loop
    put = {"scope": "run", "name": "note", "value": "plain"}
    assert (await known.call("facts_put", put, run)).code == "ok"
    for value in (told["note"], told["text"]):
        assert (await known.call("facts_put", {**put, "value": value, "version": 1}, run)).code == "invalid_arguments"
    assert (await known.call("probe_act", {"n": 2}, {"io.toolgate/run": "undone"})).code == "ok"
    await task(gate, known, jobs)
    await hook(gate)
    gateway = gate.gateway
    await gateway.store.put_pause(PauseRecord("agent:clerk", gate.clock.now_ms(), "os:ann", "drill"))
    rollback = Rollback(gateway.runner, gateway.store, gateway.rules, gateway.owned, gateway.clock)
    for each in await gateway.store.runs("payer", 10):
        await rollback.roll_back(each.run.id, "os:ann")


async def task(gate: Inside, known: Peer, server: str) -> None:
    able = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}
    call = {"name": f"{server}_build", "arguments": {"name": SECRET, "password": OTHER}, "_meta": {**ENVELOPE, **able}}
    name = str((await known.rpc("tools/call", call)).result["taskId"])
    (gate.home / server / f"go-{SECRET.replace('/', '_')}").touch()
    look = {"taskId": name, "_meta": {**ENVELOPE, **able}}
    await known.rpc("tasks/get", look, Mcp_Name=name)
    await known.rpc("tasks/cancel", look, Mcp_Name=name)


async def hook(gate: Inside) -> None:
    body = body_of({"n": 1, "note": SECRET, "password": OTHER})
    headers = {**standard(body, int(time.time())), "Authorization": f"Bearer {OTHER}"}
    async with httpx2.AsyncClient(timeout=30) as http:
        url = gate.url.replace("/mcp", "/hooks/events/deals")
        assert (await http.post(url, content=body, headers=headers)).status_code == 202


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kept]:
    home: Path = tmp_path_factory.mktemp("canary")
    (home / "rules").mkdir()
    (home / "rules" / "taint.cedar").write_text(TAINT, encoding="utf-8")
    (home / ".toolgate").mkdir(mode=0o700)
    SecretStore(home / ".toolgate", {}).set("probe_key", SECRET)
    lines: list[str] = []
    catch = logging.Handler(logging.DEBUG)
    catch.emit = lambda entry: lines.append(catch.format(entry))  # type: ignore[method-assign]  # keeps them
    logging.getLogger().addHandler(catch)
    try:
        with task_servers(home, "modern") as servers:
            sections = probe_section(home / "probe", env=', PROBE_SECRET: "${secret:probe_key}"')
            sections += probe_section(home / "frail", name="frail")
            sections += "".join(f"  {name}: {json.dumps(dict(back.section))}\n" for name, back in servers.items())
            sections += f'  events: {{ connector: inbox, hooks: {{ deals: {{ secret: "{SIGNING}" }} }} }}\n'
            async with inside(home, probes(sections, more=MORE)) as gate:
                await tell(gate, next(iter(servers)))
                kinds = frozenset(event.kind for event in await events(gate))
        yield Kept(home, "\n".join(lines), kinds)
    finally:
        logging.getLogger().removeHandler(catch)


async def test_what_came_lately_is_all_on_record(kept: Kept) -> None:
    assert {
        *(EventKind.TASK_BEGUN, EventKind.WEBHOOK_RECEIVED, EventKind.STATE_SPENT),
        *(EventKind.FACT_PUT, EventKind.CALL_COMPENSATED, EventKind.TOKEN_ISSUED, EventKind.TAINT_MARKED),
    } <= kept.kinds
    bodies = b"".join(file.read_bytes() for file in (kept.home / "data").iterdir())
    assert b"fallback" in bodies
    assert sum('"exact"' in line for line in received(kept.home / "probe")) == 1  # the second answer was a kept one


@pytest.mark.parametrize("secret", [SECRET, OTHER])
async def test_no_row_and_no_line_of_the_log_holds_the_secret(kept: Kept, secret: str) -> None:
    files = [file for file in (kept.home / "data").iterdir() if "gateway" in file.name]
    assert files
    for file in files:
        assert secret.encode() not in file.read_bytes(), file
    assert secret not in kept.log


@pytest.mark.parametrize(
    "command",
    [["trace", "list", "--json"], ["runs", "list", "--json"], ["evidence", "export", "OUT"]],
    ids=lambda command: command[0],
)
async def test_nothing_that_people_are_shown_holds_the_secret(kept: Kept, tmp_path: Path, command: list[str]) -> None:
    out = tmp_path / "out.jsonl"
    words = [str(out) if word == "OUT" else word for word in command]
    config = str(kept.home / "gateway.yaml")
    done = await asyncio.to_thread(CliRunner().invoke, build(), [*words, "--config", config])
    assert done.exit_code == 0, done.output
    shown = done.output + (out.read_text("utf-8") if out.exists() else "")
    assert "probe" in shown or "run_" in shown
    for secret in (SECRET, OTHER):
        assert secret not in shown
