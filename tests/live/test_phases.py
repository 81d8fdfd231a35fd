"""The phases of a piece of work, through the real gateway: what may be called now, and how the run goes on."""

from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.types import TextContent

from gateway.identity.tokens import Tokens
from gateway.ledger.trace import run_lines
from gateway.model.clock import RandomIds
from gateway.pipeline.desk import Desk
from tests.live.inside import Inside, call, code, inside
from tests.live.running import PAYMENTS

PHASES = """
  letters:
    phases:
      - { name: retrieval, calls: ["payments.history", "mail.inbox"] }
      - { name: planning, calls: [payments.history] }
      - { name: execution, calls: [mail.send], plan: leads }

policies:"""
PEOPLE = "people: { bob@acme.example: { roles: [leads] } }\napprovals: { wait_s: 0 }\n"
CONFIG = PAYMENTS.replace('"mail.*"]\n', '"mail.*", "run.*"]\n', 1).replace("\npolicies:", PHASES) + PEOPLE
LETTER = {"recipient": "ann@acme.example", "subject": "s", "body": "b"}


async def approve(desk: Desk) -> None:
    """Have bob approve what waits."""
    [asked] = await desk.listed(standing=False, is_open=True)
    await desk.approve("bob@acme.example", asked.id)


async def enter(client: Client, phase: str, run: str, **more: str) -> str:
    return code(await call(client, "run_phase", {"phase": phase, **more}, run=run))


async def told(client: Client, tool: str, arguments: dict[str, Any], run: str) -> str:
    """Return what a client is told that is refused."""
    result = await call(client, tool, arguments, run=run)
    assert code(result) == "denied", result
    [text] = result.content
    assert isinstance(text, TextContent)
    return text.text


async def go_through(gate: Inside, client: Client, run: str) -> None:
    """Look things up, plan, have the plan approved, and act; nothing of it works before its time."""
    plan = {"plan": "Write one letter to ann."}
    assert 'run_phase {"phase": "planning"} ends it' in await told(client, "mail_send", LETTER, run)
    assert await enter(client, "execution", run, **plan) == "denied"
    assert code(await call(client, "payments_history", {}, run=run)) == "ok"
    assert code(await call(client, "mail_inbox", {}, run=run)) == "ok"
    assert await enter(client, "planning", run) == "ok"
    assert "belongs to" in await told(client, "mail_inbox", {}, run)
    through = {"name": "mail.send", "arguments": LETTER}
    assert code(await call(client, "tools_call", through, run=run)) == "denied"
    asked = {"name": "writer", "scopes": ["mail.send"]}
    child = (await call(client, "run_delegate", asked, run=run)).structured_content
    assert child is not None
    assert await enter(client, "execution", run, **plan) == "needs_approval"
    await approve(gate.gateway.approving.desk)
    assert await enter(client, "execution", run, plan="Write ten letters to ann.") == "needs_approval"
    assert await enter(client, "execution", run, **plan) == "ok"
    assert code(await call(client, "mail_send", LETTER, run=run)) == "ok"
    assert "the last one" in await told(client, "payments_history", {}, run)
    assert await enter(client, "planning", run) == "denied"


async def test_a_run_goes_through_its_phases_and_is_in_the_same_one_after_a_restart(tmp_path: Path) -> None:
    async with inside(tmp_path, CONFIG) as gate, gate.client("modern") as client:
        run = (await call(client, "run_start", {})).structured_content["run"]  # type: ignore[index]
        await go_through(gate, client, run)
        [*_, entry] = [line for line in await run_lines(gate.gateway.store, run) if line.tool == "run.phase"]
        brief = await call(client, "run_brief", {}, run=run)
        assert "run.phase" in str(brief.content)
        assert entry.outcome == "denied"
        clock, tokens = gate.clock, Tokens(gate.gateway.store, gate.clock, RandomIds())
        for agent in gate.tokens:  # each is given a new one when it starts again
            await tokens.revoke(agent)
    async with inside(tmp_path, CONFIG, clock=clock) as gate, gate.client("legacy") as client:
        assert code(await call(client, "mail_send", LETTER | {"subject": "later"}, run=run)) == "ok"
        assert "the last one" in await told(client, "payments_history", {}, run)
        other = (await call(client, "run_start", {})).structured_content["run"]  # type: ignore[index]
        assert "belongs to" in await told(client, "mail_send", LETTER, other)
        resumed = await call(client, "run_resume", {"run": run})
        assert code(resumed) == "ok"  # from its first step: what it did is answered from the record, phases too
        assert code(await call(client, "payments_history", {}, run=run)) == "ok"
        assert code(await call(client, "mail_inbox", {}, run=run)) == "ok"
        assert await enter(client, "planning", run) == "ok"
        assert await enter(client, "execution", run, plan="Write one letter to ann.") == "ok"
        assert code(await call(client, "mail_send", LETTER, run=run)) == "ok"
        assert code(await call(client, "mail_send", LETTER | {"subject": "last"}, run=run)) == "ok"
        lines = [line for line in await run_lines(gate.gateway.store, run) if line.replayed_from]
        assert [line.tool for line in lines][-5:] == [
            "payments.history",
            "mail.inbox",
            "run.phase",
            "run.phase",
            "mail.send",
        ]
