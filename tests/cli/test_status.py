"""`toolgate status` and `toolgate up`: is it up, and if not, why."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.house import House
from tests.live.probe_server import tool
from tests.live.running import Running


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_a_server(tmp_path, tool("pay"), tool("list", annotations={"readOnlyHint": True}))


@pytest.fixture
def running(house: House) -> Iterator[Running]:
    gateway = Running(house.path).start()
    yield gateway
    gateway.stop()


def test_a_gateway_that_is_not_up_says_how_to_start_it(house: House) -> None:
    down = house.run("status")
    assert (down.exit_code, "toolgate up" in down.output) == (1, True)
    assert house.json("status") == {"up": False}


def test_a_note_that_was_left_behind_is_not_believed(house: House) -> None:
    (house.path / ".toolgate").mkdir(mode=0o700)
    for left in ("{", json.dumps({"pid": 1, "url": "http://127.0.0.1:9"})):
        (house.path / ".toolgate" / "run.json").write_text(left, encoding="utf-8")
        assert house.run("status").exit_code == 1


def test_a_gateway_that_is_up_says_how_its_servers_are(house: House, running: Running) -> None:
    up = house.run("status")
    assert (up.exit_code, f"up at {running.url}/mcp" in up.output) == (0, True)
    assert any(line.split()[:3] == ["probe", "up", "2"] for line in up.output.splitlines())
    data = house.json("status")
    assert (data["up"], data["servers"]["probe"]["quarantined"]) == (True, {})


def test_a_ledger_that_cannot_be_written_is_told_until_it_can_be(house: House, running: Running) -> None:
    assert house.json("status")["store_problem"] == ""
    with closing(sqlite3.connect(house.path / "gateway.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        running.rpc("tools/call", {"name": "probe_pay"}, token="tg_nobody")
        assert "the ledger cannot be written" in house.run("status").output
        other.execute("ROLLBACK")
    running.rpc("tools/call", {"name": "probe_pay"}, token="tg_nobody")
    assert "the ledger cannot be written" not in house.run("status").output


def test_policies_that_do_not_load_are_told(house: House, running: Running) -> None:
    assert house.json("status")["policy_problem"] == ""
    second = running.command("up", check=False)
    assert (second.returncode, "already up in this folder" in second.stderr) == (1, True)


def test_the_key_may_lie_where_the_configuration_says(house: House) -> None:
    text = (house.path / "gateway.yaml").read_text(encoding="utf-8")
    house.configure(f"{text}identity: {{ local_key: elsewhere.key }}\npolicies: [./none.cedar]\n")
    (house.path / "none.cedar").write_text(
        '@id("x") permit (principal, action == Gateway::Action::"no.such", resource);'
    )
    gateway = Running(house.path).start()
    try:
        assert (house.path / "elsewhere.key").exists()
        up = house.run("status")
        assert (up.exit_code, "the policies do not load" in up.output) == (0, True)
    finally:
        gateway.stop()


def test_a_gateway_that_cannot_start_says_why(house: House) -> None:
    running = Running(house.path)
    (house.path / "gateway.lock").write_text("{}", encoding="utf-8")
    refused = running.command("up", check=False)
    assert (refused.returncode, "error: lock: " in refused.stderr, "Traceback" in refused.stderr) == (1, True, False)
    (house.path / "gateway.lock").unlink()
    (house.path / ".toolgate").mkdir(mode=0o700, exist_ok=True)
    (house.path / ".toolgate" / "local.key").write_text("k" * 64)
    (house.path / ".toolgate" / "local.key").chmod(0o644)
    refused = running.command("up", check=False)
    assert (refused.returncode, "private_file" in refused.stderr, "Traceback" in refused.stderr) == (1, True, False)


def test_a_server_that_is_down_is_told_by_status_and_doctor(house: House) -> None:
    text = (house.path / "gateway.yaml").read_text(encoding="utf-8")
    gone = 'mcpServers:\n  gone: { type: http, url: "http://127.0.0.1:9/mcp" }\n'
    house.configure(text.replace("mcpServers:\n", gone) + 'probes: { "*": { every: 1s } }\n')
    gateway = Running(house.path).start()
    try:
        give_up = time.monotonic() + 30
        found = house.json("status")["servers"]
        while found["gone"]["state"] != "down" or found["probe"]["probe"] is None:
            assert time.monotonic() < give_up, found
            found = house.json("status")["servers"]
        lines = {line.split()[0]: line.split() for line in house.run("status").output.splitlines() if line.strip()}
        assert lines["SERVER"][:6] == ["SERVER", "STATE", "TOOLS", "FOR", "PROBE", "BREAKER"]
        assert (lines["gone"][1], lines["gone"][4]) == ("down", "-")
        assert lines["probe"][1] == "up"
        assert (lines["probe"][5], lines["probe"][7]) == ("ms,", "ago")
        checks = [one for one in house.json("doctor")["checks"] if one["name"] == "server gone"]
        assert "is down for the running gateway since" in checks[0]["message"]
        assert not checks[0]["ok"]
    finally:
        gateway.stop()


def test_whom_to_ask_about_a_server_that_ails_is_told_to_people_and_in_short_to_agents(house: House) -> None:
    about = "about: { owner: probe team, contact: '#probe', runbook: 'https://example.com/runbook' }"
    text = (house.path / "gateway.yaml").read_text(encoding="utf-8")
    text = text.replace("  probe:\n", f"  probe:\n    {about}\n") + f"  gone: {{ command: 'false', {about} }}\n"
    house.configure(f"{text}agents: {{ payer: {{ allow: ['*'] }} }}\n")
    words = "ask probe team (#probe); runbook: https://example.com/runbook"
    assert house.run("schema", "lock").exit_code == 1  # one does not answer
    gateway = Running(house.path).start()
    try:
        house.offers(tool("pay", {"changed": {}}), tool("list", annotations={"readOnlyHint": True}))
        token = gateway.token("payer")
        up = house.run("status").output
        assert f"gone: {words}" in up
        assert f"probe: {words}" not in up
        assert house.json("status")["servers"]["probe"]["about"]["owner"] == "probe team"
        checked = house.run("doctor").output
        assert f"or correct its entry under mcpServers; or {words}" in checked
        assert f"fix: {words}" in checked
        assert "✗ tool probe.pay: is quarantined: its definition changed" in checked
        assert "fix: toolgate schema diff probe.pay" in checked
    finally:
        gateway.stop()
    gateway.start()
    try:
        give_up = time.monotonic() + 30
        while not house.json("status")["servers"]["probe"]["quarantined"]:
            assert time.monotonic() < give_up
            time.sleep(0.1)
        shown = house.run("status").output
        assert f"probe: {words}" in shown
        assert "probe.pay is quarantined: its definition changed" in shown
        refused = gateway.call(token, "probe_pay", {})
        assert refused["_meta"]["io.toolgate/refusal"]["code"] == "tool_quarantined"
        assert refused["content"][0]["text"].endswith("Ask probe team, who answers for it.")
        assert "#probe" not in str(refused)
    finally:
        gateway.stop()
