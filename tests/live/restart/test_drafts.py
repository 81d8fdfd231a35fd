"""A draft outlives every crash of the gateway, and is carried out once, as people changed and approved it."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.live.running import Running, environment, payments_alone, refusal

CONFIG = """
agents:
  payer: { owner: finance@acme.example, allow: ["payments.*"] }
people:
  bob@acme.example: { roles: [leads] }
policies: ["policies"]
"""
LEADS = """
@id("leads.approve")
permit (principal in Gateway::Role::"leads", action == Gateway::Action::"approve", resource);
"""
MADE = {"payment_id": "d_1", "payee": "ACME", "amount": 250.0, "reference": ""}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "data").mkdir()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "leads.cedar").write_text(LEADS, encoding="utf-8")
    text = payments_alone(tmp_path, "effect: irreversible, mode: draft") + CONFIG
    (tmp_path / "gateway.yaml").write_text(text, encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def paid(running: Running) -> list[Any]:
    with closing(sqlite3.connect(running.home / "data" / "payments.db")) as file:
        return file.execute("SELECT payment_id, amount FROM payments").fetchall()


def until(running: Running, token: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call until the servers have started."""
    give_up = time.monotonic() + 30
    while True:
        result = running.call(token, tool, arguments)
        if not result.get("isError") or refusal(result)["code"] not in {"unknown_tool", "unavailable"}:
            return result
        assert time.monotonic() < give_up, result
        time.sleep(0.05)


def test_a_draft_that_was_changed_and_approved_between_crashes_is_carried_out_once(running: Running) -> None:
    token = running.token("payer")
    draft = until(running, token, "payments_pay", MADE)["structuredContent"]["draft"]
    assert refusal(running.call(token, "approvals_execute", {"draft": draft}))["code"] == "approval_pending"
    running.kill()
    shown = json.loads(running.command("approvals", "show", draft, "--json").stdout)
    assert (shown["draft"], shown["arguments"]) == (True, MADE)
    less = json.dumps({**MADE, "amount": 100.0})
    edited = running.command("approvals", "edit", draft, "--arguments", less, "--as", "bob@acme.example", "--json")
    running.start()
    assert refusal(running.call(token, "approvals_execute", {"draft": draft}))["code"] == "approval_edited"
    new = json.loads(edited.stdout)["id"]
    assert "receipt" in json.dumps(until(running, token, "approvals_execute", {"draft": new}))
    running.kill()
    running.start()
    assert refusal(running.call(token, "approvals_execute", {"draft": new}))["code"] == "approval_over"
    assert paid(running) == [("d_1", 100.0)]
    running.stop()
    running.command("verify")
