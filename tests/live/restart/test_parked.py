"""A gateway that is killed while a call waits for a person as a task: it is made once, whoever is there to see it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.running import Running, environment, refusal
from tests.live.test_approvals import CONFIG, paid, payment, with_pack

TASKS = "io.modelcontextprotocol/tasks"
FOLLOWS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "gateway.yaml").write_text(CONFIG, encoding="utf-8")
    with_pack(tmp_path)
    running = Running(tmp_path, environment(DATA=str(tmp_path / "data"))).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def asked(running: Running, token: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    answer = running.rpc(method, params, token=token, meta=FOLLOWS).json()
    assert "result" in answer, answer
    result: dict[str, Any] = answer["result"]
    return result


def parked(running: Running, token: str, made: dict[str, Any]) -> dict[str, Any]:
    """Call until the call waits as a task; the servers may still be starting."""
    give_up = time.monotonic() + 30
    while True:
        result = asked(running, token, "tools/call", {"name": "payments_pay", "arguments": made})
        if result["resultType"] == "task":
            return result
        assert refusal(result)["code"] in {"unknown_tool", "unavailable"}, result
        assert time.monotonic() < give_up, result


def test_a_task_approved_while_the_gateway_is_down_is_carried_out_once_after_it(running: Running) -> None:
    token, made = running.token("payer"), payment()
    task = parked(running, token, made)
    approval = task["statusMessage"].partition("asked as ")[2].split()[0]
    running.kill()
    running.command("approvals", "approve", approval, "--as", "bob@acme.example")
    running.start()
    give_up = time.monotonic() + 30
    while not paid(running.home / "data" / "payments.db", made):  # nobody asks
        assert time.monotonic() < give_up, running.log()
        time.sleep(0.05)
    running.kill()  # perhaps before it is on record that the task is over
    running.start()
    while (state := asked(running, token, "tasks/get", {"taskId": task["taskId"]}))["status"] == "working":
        assert time.monotonic() < give_up + 30, state
    assert state["status"] == "completed" or state["error"]["data"]["code"] == "outcome_unknown", state
    assert paid(running.home / "data" / "payments.db", made) == 1
    running.stop()
    running.command("verify")
