"""The configurations to begin with: what each agent may do by itself, what a person is asked, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.running import ROOT, Running, environment

SCENARIOS = ROOT / "examples/scenarios"


@dataclass
class Scenario:
    """One of the examples, served; `call` is made by its agent."""

    running: Running
    token: str

    def call(self, tool: str, **arguments: Any) -> tuple[str, str]:
        """Return the code of what came of a call, and what the agent reads."""
        result = self.running.call(self.token, tool, arguments)
        refusal = result.get("_meta", {}).get("io.toolgate/refusal", {})
        return refusal.get("code", "ok"), " ".join(block["text"] for block in result["content"])

    def approve(self, person: str) -> str:
        """Have a person approve what waits; return its id."""
        [waiting] = json.loads(self.running.command("approvals", "list", "--json").stdout)
        self.running.command("approvals", "approve", waiting["id"], "--as", person)
        return str(waiting["id"])


@contextmanager
def scenario(name: str, home: Path) -> Iterator[Scenario]:
    """Serve an example as its README says, from a copy."""
    folder = home / name
    shutil.copytree(SCENARIOS / name, folder)
    config = folder / "gateway.yaml"
    config.write_text(config.read_text("utf-8").replace("127.0.0.1:8750", "127.0.0.1:0"), "utf-8")
    running = Running(folder, environment())
    assert "pinned" in running.command("schema", "lock").stdout
    checked = json.loads(running.command("policy", "check", "--json").stdout)
    assert checked == {"ok": True, "errors": [], "warnings": []}
    [agent] = [line.split(":")[0].strip() for line in config.read_text("utf-8").split("agents:\n")[1].splitlines()[:1]]
    running.start()
    try:
        yield Scenario(running, running.token(agent))
    finally:
        running.stop()


def test_support_gives_small_credits_asks_about_large_ones_and_takes_them_back(tmp_path: Path) -> None:
    with scenario("support", tmp_path) as it:
        assert it.call("helpdesk_credit", ticket="t_1", amount=50.0)[0] == "ok"
        code, text = it.call("helpdesk_credit", ticket="t_2", amount=50.01)
        assert (code, "given by a person" in text) == ("needs_approval", True)
        it.approve("lee@acme.example")
        assert it.call("helpdesk_credit", ticket="t_2", amount=50.01)[0] == "ok"
        assert it.call("helpdesk_credit", ticket="t_1", amount=60.0)[0] == "needs_approval"
        [run, *_] = json.loads(it.running.command("runs", "list", "--json").stdout)
        undone = json.loads(it.running.command("runs", "rollback", run["run"], "--yes", "--json", check=False).stdout)
        assert [step["state"] for step in undone["steps"] if step["tool"] == "helpdesk.credit"] == ["undone"] * 2


def test_sales_writes_known_fields_so_often_and_only_drafts_mails(tmp_path: Path) -> None:
    with scenario("sales", tmp_path) as it:
        assert it.call("crm_update_deal", id="d_7", owner="me")[0] == "denied"
        assert it.call("crm_update_deal", id="d_7", stage="mine")[0] == "denied"
        assert [it.call("crm_update_deal", id="d_7", stage="won", note=str(n))[0] for n in range(2)] == ["ok", "ok"]
        assert it.call("crm_update_deal", id="d_7", stage="lost")[0] == "budget_exceeded"
        draft = {"to": "acme@example.com", "subject": "Offer", "body": "Dear Acme"}
        assert it.call("mail_send", **draft)[0] == "ok"
        approval = it.approve("kim@acme.example")
        assert "sent to acme@example.com: Offer" in it.call("approvals_execute", draft=approval)[1]
        assert it.call("approvals_execute", draft=approval)[0] == "approval_over"


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("repo_open_pull_request", {"repository": "acme/web", "branch": "main", "title": "Fix"}, "ok"),
        ("repo_open_pull_request", {"repository": "acme/payroll", "branch": "main", "title": "Fix"}, "denied"),
        ("repo_open_pull_request", {"repository": "acme/web", "branch": "release/2", "title": "Fix"}, "denied"),
        ("repo_merge", {"repository": "acme/web", "number": 1}, "denied"),
        ("deploy_roll_out", {"version": "2"}, "denied"),
    ],
)
def test_a_developer_proposes_in_two_repositories_and_reaches_no_production(
    developer: Scenario, tool: str, arguments: dict[str, Any], code: str
) -> None:
    assert developer.call(tool, **arguments)[0] == code


@pytest.fixture(scope="module")
def developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    with scenario("developer", tmp_path_factory.mktemp("developer")) as served:
        yield served
