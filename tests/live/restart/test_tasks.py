"""A gateway that goes and comes back while servers carry calls out as tasks: one task, one effect, one record."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.restart.test_restart import House
from tests.live.speaking import Speaker
from tests.live.tasking.server import TASKS
from tests.live.tasking.serving import task_servers
from tests.live.ways.backs import AGENT

ERAS = ("legacy", "modern")
WAYS = [(front, back) for front in ERAS for back in ERAS]
KEY = "io.toolgate/idempotency-key"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home: Path = tmp_path_factory.mktemp("task-restart")
    with task_servers(home) as servers:
        house = House(home / "gate", servers)
        yield house
        house.running.stop()


async def begun(speaker: Speaker, name: str) -> dict[str, Any]:
    """Call what is only a task, with a key of its own; return the task that the call became."""
    wish = {} if speaker.modern else {"task": {}}
    answer = await speaker.ask("tools/call", {"name": "only", "arguments": {"name": name}, **wish}, **{KEY: name})
    assert "result" in answer, answer
    result = answer["result"]
    task: dict[str, Any] = result if speaker.modern else result["task"]
    assert (task["taskId"].startswith("task_"), task["status"]) == (True, "working")
    return task


async def ended(speaker: Speaker, task_id: str) -> dict[str, Any]:
    """Ask until a task is over; return its result."""
    while (state := (await speaker.ask("tasks/get", {"taskId": task_id}))["result"])["status"] == "working":
        pass
    assert state["status"] == "completed", state
    found: dict[str, Any] = state["result"] if speaker.modern else None
    return found or (await speaker.ask("tasks/result", {"taskId": task_id}))["result"]


def recorded(house: House, call_id: str) -> dict[str, Any]:
    """Return a call as the ledger has it."""
    shown = house.running.command("trace", "show", call_id, "--json").stdout
    found: dict[str, Any] = json.loads(shown)
    return found


async def test_a_task_goes_on_over_a_crash_of_the_gateway_and_is_carried_out_once(house: House) -> None:
    begun_by = {}
    for front, back in WAYS:
        name = f"{front}-on-{back}"
        async with house.speaker(f"jobs-{back}", modern=front == "modern", extensions={TASKS: {}}) as speaker:
            begun_by[name] = (await begun(speaker, name))["taskId"]
            await begun(speaker, f"{name}-alone")
    await house.again(kill=True)
    for front, back in WAYS:
        name, server = f"{front}-on-{back}", house.servers[f"jobs-{back}"]
        async with house.speaker(f"jobs-{back}", modern=front == "modern", extensions={TASKS: {}}) as speaker:
            assert (await begun(speaker, name))["taskId"] == begun_by[name]
            server.go(name)
            result = await ended(speaker, begun_by[name])
            assert result["content"] == [{"type": "text", "text": f"built {name}"}]
            assert "job-" not in json.dumps(result)
        assert server.notes(name) == ["started", "finished"]
        call = recorded(house, begun_by[name].replace("task_", "call_"))
        assert (call["outcome"], call["tool"], call["agent"]) == ("succeeded", f"jobs-{back}.only", AGENT)
        server.go(f"{name}-alone")  # nobody asks about this one any more
        await server.until("finished", f"{name}-alone")
    house.running.command("verify")
