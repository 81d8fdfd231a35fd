"""What was handed on outlives the gateway's process, and so does what was taken back; a passport outlives both."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.live.running import ROOT, Running, environment, payments_alone

CONFIG = 'agents:\n  payer: { allow: ["payments.*", "run.*"] }\n'


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "data").mkdir()
    text = payments_alone(tmp_path, "effect: write") + CONFIG
    (tmp_path / "gateway.yaml").write_text(text, encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def handed(running: Running, token: str, *scopes: str) -> dict[str, Any]:
    answer = running.call(token, "run_delegate", {"name": "reader", "scopes": list(scopes)})
    told: dict[str, Any] = answer["structuredContent"]
    return told


def checked(running: Running, passport: str) -> dict[str, Any]:
    """Have a program of its own check a passport with the keys that the gateway publishes."""
    jwks = httpx2.get(f"{running.url}/.well-known/jwks.json").json()
    program = [sys.executable, str(ROOT / "tests/live/checking_passport.py")]
    given = json.dumps({"passport": passport, "jwks": jwks})
    done = subprocess.run(program, input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_killed_gateway_comes_back_with_its_children_and_without_those_taken_back(running: Running) -> None:
    token = running.token("payer")
    kept = handed(running, token, "payments.history", "run.passport", "run.delegate")
    below = handed(running, kept["token"], "run.passport")
    gone = handed(running, token, "payments.history")
    running.call(token, "run_revoke", {"child": gone["child"]})
    passport = running.call(below["token"], "run_passport", {})["structuredContent"]["passport"]
    running.kill()
    running.start()
    assert running.call(kept["token"], "payments_history", {})["isError"] is False
    assert running.rpc("tools/list", token=gone["token"]).status_code == 401
    assert running.rpc("tools/list", token=passport).status_code == 401  # it is no credential
    found = checked(running, passport)
    assert (found["unseen"], found["ours"]) == ([], False)
    claims = found["claims"]
    assert (claims["sub"], claims["run"], claims["scopes"]) == ("payer", kept["run"], ["run.passport"])
    assert claims["act"] == {"sub": "payer:reader:reader", "act": {"sub": "payer:reader"}}
    (running.home / "passport").write_text(passport, encoding="utf-8")
    assert "and so it is here" in running.command("runs", "passport", "verify", "passport").stdout
    tree = json.loads(running.command("agents", "tree", "--json").stdout)
    standing = {child["child"]: child["standing"] for agent in tree for child in agent["children"]}
    assert standing[kept["child"]] == standing[below["child"]] == "live"
    assert standing[gone["child"]].endswith("was withdrawn")
    running.command("agents", "revoke", "payer")  # the command of another process, on the gateway's ledger
    while running.rpc("tools/list", token=below["token"]).status_code != 401:
        pass
    assert running.rpc("tools/list", token=kept["token"]).status_code == 401
    assert running.rpc("tools/list", token=token).status_code == 200
