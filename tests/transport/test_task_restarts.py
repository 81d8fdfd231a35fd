"""Tasks over restarts of the gateway, and over faults of its store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.connector import Rejected
from gateway.ledger.recollection import Recollections
from gateway.model.errors import StoreFault
from gateway.model.facts import StepStatus
from gateway.store.memory import MemoryStore
from gateway.store.ports import Ending, EventKind, Record
from gateway.store.retention import Removal
from gateway.store.tasks import TaskRecord
from tests.fixtures.clock import FakeClock
from tests.fixtures.tasking import Tasking
from tests.pipeline.gate import DEFINITIONS, PERMIT_ALL, answer, rules_of
from tests.transport.tasking import FORMS, ID, LIST, PAY, House, error_of

RECORD = Record("call_9", 0, "", "payer", "", "payments.pay", {}, EventKind.TASK_BEGUN)


@pytest.fixture(params=FORMS)
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    made = House(request.param)
    yield made
    await made.close()


def restarted(house: House, server: Tasking | None = None) -> House:
    """The same store and server, or another one, behind a gateway that knows nothing more."""
    again = House(house.form, store=house.gate.store, clock=house.gate.clock)
    again.server = server or house.server
    again.gate.upstreams._members["payments"]._upstream = again.server
    return again


async def test_a_task_goes_on_over_a_restart(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.close()
    later = restarted(house)
    alive = await later.gate.tasks.revive()
    assert alive == {"call_1"}
    assert await later.gate.recorder.recover(lambda recorded: recorded.call_id in alive) == []
    client = await later.client()
    assert (await client.get(task_id))["status"] == "working"
    house.server.ends(answer({"paid": 1}))
    await client.get(task_id)
    assert (await client.result(task_id))["structuredContent"] == {"paid": 1}
    [*_, ended] = await later.bodies("call_1")
    assert (ended["outcome"], ended["result"]["structuredContent"]) == ("succeeded", {"paid": 1})
    assert len(house.server.told("tools/call")) == 1
    third = restarted(later, Tasking(house.form))  # the server has gone too: the record answers
    assert await third.gate.tasks.revive() == frozenset()
    client = await third.client()
    assert (await client.get(task_id))["status"] == "completed"
    assert (await client.result(task_id))["structuredContent"] == {"paid": 1}
    assert third.server.asked == []


async def test_tasks_that_were_taken_up_are_followed_and_those_over_for_long_forgotten(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.close()
    later = restarted(house)
    await later.gate.tasks.revive()
    house.server.ends(answer({"paid": 1}))
    following = asyncio.ensure_future(later.gate.tasks.run())
    while len(later.gate.tasks):
        await asyncio.sleep(0)
    assert (await later.bodies("call_1"))[-1]["outcome"] == "succeeded"
    house.gate.clock.passed += 8 * 24 * 3600
    while await later.gate.store.find_task(task_id) is not None:
        await asyncio.sleep(0)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert (await error_of((await later.client()).send("tasks/get", {"taskId": task_id})))["code"] == -32602


async def test_an_effect_called_again_after_a_restart_is_still_the_same_task(house: House) -> None:
    client = await house.client()
    task = await client.started(PAY)
    await house.close()
    later = restarted(house)
    await later.gate.tasks.revive()
    client.peer.front = later.front
    assert (await client.started(PAY))["taskId"] == task["taskId"]
    assert len(house.server.told("tools/call")) == 1


async def test_a_task_whose_end_was_recorded_just_before_a_crash_is_over(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    before = house.gate.store._tasks[task_id]
    house.server.ends(answer({"paid": 1}))
    await client.get(task_id)
    house.gate.store._tasks[task_id] = before
    later = restarted(house)
    assert await later.gate.tasks.revive() == frozenset()
    client = await later.client()
    assert (await client.result(task_id))["structuredContent"] == {"paid": 1}


class FullStore(MemoryStore):
    """Keeps no tasks."""

    async def begin_task(self, task: TaskRecord, record: Record) -> None:
        raise StoreFault("The disk is full.")


@pytest.mark.parametrize("form", FORMS)
async def test_a_task_that_cannot_be_kept_leaves_its_call_in_doubt(form: str) -> None:
    house = House(form, store=FullStore(FakeClock()))
    await (await house.client()).begin(PAY).ended()
    [*_, ended] = await house.bodies("call_1")
    assert (ended["outcome"], ended["error"]["code"], len(house.gate.tasks)) == ("unknown", "outcome_unknown", 0)


async def test_a_task_begun_for_a_user_is_asked_about_after_a_restart_only_by_its_client(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.close()
    record = house.gate.store._tasks[task_id]
    house.gate.store._tasks[task_id] = replace(record, body={**record.body, "personal": True})
    later = restarted(house)
    await later.gate.tasks.revive()
    asked = len(house.server.asked)
    [held] = later.gate.tasks._open.values()
    assert (await later.gate.tasks.look(held))["status"] == "working"
    assert len(house.server.asked) == asked
    await (await later.client()).get(task_id)
    assert len(house.server.asked) == asked + 1


async def test_a_task_of_a_tool_that_is_gone_may_have_had_an_effect(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(LIST))["taskId"]
    await house.close()
    later = restarted(house, Tasking(house.form))
    fewer = {**DEFINITIONS, "payments": DEFINITIONS["payments"][:1]}
    later.gate.rules.current = rules_of(PERMIT_ALL, definitions=fewer)
    await later.gate.tasks.revive()
    assert (await error_of((await later.client()).send("tasks/get", {"taskId": task_id})))["code"] == -31403
    [held] = later.gate.tasks._open.values()
    await later.gate.tasks.look(held)
    assert '"unknown"' in (await house.gate.events("call_1"))[-1].body


async def test_a_result_that_is_not_on_record_is_told_to_have_been_there(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    house.server.ends({"content": [{"type": "text", "text": "x" * 300_000}]})
    await client.get(task_id)
    later = restarted(house)
    [block] = (await (await later.client()).result(task_id))["content"]
    assert "is not kept" in block["text"]


async def test_a_row_without_its_call_is_no_task(house: House) -> None:
    await house.gate.store.begin_task(TaskRecord("task_9", "call_9", "x", True, 0, {}), RECORD)
    assert await house.gate.tasks.revive() == frozenset()


async def test_a_follower_that_fails_in_a_way_nobody_foresaw_is_in_the_log(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    client = await house.client()
    house.server.says["tasks/get"] = [RuntimeError("odd")]
    task_id = (await client.started(PAY))["taskId"]
    while house.gate.tasks._followers:
        await asyncio.sleep(0)
    assert f"{task_id} is not followed any more" in caplog.text


async def test_a_server_that_cannot_be_asked_is_asked_again_later(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    client = await house.client()
    house.server.says["tasks/get"] = [Rejected("no"), Rejected("no")]
    task_id = (await client.started(PAY))["taskId"]
    house.server.ends(answer({"paid": 1}))
    while len(house.gate.tasks):
        await asyncio.sleep(0)
    assert caplog.text.count(f"{task_id} of payments cannot be asked about") == 1
    assert {2.0, 4.0} <= set(house.gate.clock.slept)
    assert (await house.bodies("call_1"))[-1]["outcome"] == "succeeded"


async def test_an_outcome_that_cannot_be_recorded_leaves_the_call_in_doubt(house: House) -> None:
    client = await house.client()
    await client.started(PAY)
    await house.gate.store.finish(Ending("call_1", 0, StepStatus.UNKNOWN, {}))
    house.server.ends(answer({"paid": 1}))
    state = await client.get(ID)
    assert state["status"] == "failed"


def test_asking_about_a_task_is_no_step_of_a_run_that_is_begun_anew() -> None:
    recollections = Recollections(MemoryStore(FakeClock()), frozenset())
    assert [recollections.is_apart(f"payments.{name}") for name in ("pay", "tasks/get", "tasks/cancel")] == [
        False,
        True,
        True,
    ]


async def test_a_task_is_not_there_any_more_once_its_call_was_let_go_of(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    house.server.ends(answer({"paid": 1}))
    await client.get(task_id)
    now = house.gate.clock.now_ms()
    assert (await house.gate.store.remove_bodies(Removal(now + 1, now, 0))).bodies > 0
    error = await error_of((await restarted(house).client()).send("tasks/get", {"taskId": task_id}))
    assert error["message"] == "There is no such task of yours."


async def test_a_task_is_there_while_its_server_cannot_be_reached_yet_after_a_restart(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    house.server.ends(answer({"paid": 1}))
    await client.get(task_id)
    later = restarted(house, Tasking(house.form))
    later.server.capabilities = {}
    later.fraud.capabilities = {}
    client = await later.client()
    assert (await client.get(task_id))["status"] == "completed"
    assert (await client.result(task_id))["structuredContent"] == {"paid": 1}
    assert (await error_of(client.send("tasks/get", {"taskId": "task_9"})))["code"] == -32601
