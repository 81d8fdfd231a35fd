"""A run of a real gateway is undone from the command line, through a crash in the middle, each deed once."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.app import operator_token
from tests.live.running import Running, environment

SERVER = Path(__file__).parents[1] / "fixtures" / "booking_server.py"
CONFIG = """
version: 1
server: {{ listen: "127.0.0.1:0" }}
mcpServers:
  rooms: {{ command: "{python}", args: ["-I", "-S", "{server}", "{deeds}"], protocol: legacy, stop: {{ grace_s: 0 }} }}
tools:
  rooms.book: {{ effect: write, undo: rooms.cancel }}
  rooms.cancel: {{ effect: write }}
  rooms.shout: {{ effect: irreversible }}
agents:
  clerk: {{ owner: office@acme.example, allow: ["rooms.*"] }}
"""
ROOMS = ["r1", "r2", "r3", "r4", "r5"]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    text = CONFIG.format(python=sys.executable, server=SERVER, deeds=tmp_path / "deeds")
    (tmp_path / "gateway.yaml").write_text(text, encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    try:
        yield running
    finally:
        running.stop()


def deeds(gateway: Running, name: str = "cancel") -> list[str]:
    lines = (gateway.home / "deeds").read_text().splitlines()
    return [room for deed, _, room in (line.partition(" ") for line in lines) if deed == name]


def book(gateway: Running, *rooms: str) -> tuple[str, str]:
    """Book rooms in one run; return its id and the agent's token."""
    token = gateway.token("clerk")
    for room in rooms:
        assert "isError" not in gateway.call(token, "rooms_book", {"room": room}, run="trip")
    [run] = json.loads(gateway.command("runs", "list", "--json").stdout)
    return str(run["run"]), token


def undo(gateway: Running, run: str, **said: Any) -> Any:
    """Ask the gateway as its operator's commands do."""
    token = operator_token((gateway.home / ".toolgate" / "local.key").read_bytes().strip())
    asked = {"by": "os:op", **said}
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.post(f"{gateway.url}/-/runs/{run}/rollback", json=asked, headers=headers, timeout=30).json()


def test_a_rollback_killed_in_the_middle_goes_on_after_a_person_settled_the_doubt(gateway: Running) -> None:
    run, _ = book(gateway, *ROOMS)
    planned = undo(gateway, run, plan=True)
    assert [step["arguments"]["room"] for step in planned["steps"]] == ROOMS[::-1]
    assert deeds(gateway) == []

    assert undo(gateway, run, after=4)["complete"] is True  # r5 first, by itself
    hold = gateway.home / "deeds.hold"
    hold.touch()
    asking = subprocess.Popen(
        [sys.executable, "-m", "gateway", "runs", "rollback", run, "--yes"], cwd=gateway.home, env=gateway.env
    )
    give_up = time.monotonic() + 20
    while deeds(gateway) != ["r5", "r4"]:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    gateway.kill()
    assert asking.wait(30) == 1
    hold.unlink()

    gateway.start()
    stopped = undo(gateway, run)["stopped"]
    assert (stopped["outcome"], deeds(gateway)) == ("unknown", ["r5", "r4"])
    doubtful = re.search(r"#(call_\w+)", stopped["why"])
    assert doubtful is not None
    gateway.command("runs", "settle", doubtful[1], "succeeded", "--note", "the hotel says so")

    report = undo(gateway, run)
    assert (report["complete"], report["stopped"]) == (True, {})
    assert deeds(gateway) == ROOMS[::-1]
    assert undo(gateway, run)["undone"] == []
    assert deeds(gateway) == ROOMS[::-1]
    shown = json.loads(gateway.command("runs", "show", run, "--json").stdout)
    assert [step["outcome"] for step in shown if step["tool"] == "rooms.book"] == ["compensated"] * 5
    gateway.command("verify")


def test_what_cannot_be_undone_is_told_and_the_command_says_so_with_its_exit_code(gateway: Running) -> None:
    run, token = book(gateway, "r1")
    gateway.call(token, "rooms_shout", {"room": "r1"}, run="trip")
    done = gateway.command("runs", "rollback", run, "--json", check=False)
    report = json.loads(done.stdout)
    assert (done.returncode, report["complete"], deeds(gateway)) == (1, False, ["r1"])
    assert [(step["tool"], step["state"]) for step in report["steps"]] == [
        ("rooms.shout", "stays"),
        ("rooms.book", "undone"),
    ]
    assert "no compensation" in gateway.command("runs", "rollback", run, "--plan").stdout
    refused = gateway.command("runs", "rollback", "run_none", "--yes", check=False)
    assert (refused.returncode, "no run" in refused.stderr) == (1, True)
    gateway.stop()
    refused = gateway.command("runs", "rollback", run, "--yes", check=False)
    assert (refused.returncode, "toolgate up" in refused.stderr, deeds(gateway)) == (1, True, ["r1"])
    gateway.start()
