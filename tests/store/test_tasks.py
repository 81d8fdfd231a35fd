"""Tasks on every store: begun on the chain, and found again."""

import json
from dataclasses import replace

import pytest

from gateway.model.errors import StoreFault
from gateway.store.ports import EventFilter, EventKind, Record, Store
from gateway.store.tasks import TaskRecord
from tests.store.making import T0


def task(number: int, owner: str = "payer", **more: object) -> TaskRecord:
    made = TaskRecord(f"task_{number}", f"call_{number}", owner, True, T0 + number, {"state": {"status": "working"}})
    return replace(made, **more)  # type: ignore[arg-type]  # by name


def begun(number: int) -> Record:
    told = {"task": f"task_{number}"}
    return Record(f"call_{number}", T0, "run_1", "payer", "", "payments.pay", told, EventKind.TASK_BEGUN)


async def test_a_task_is_begun_once_and_on_the_chain(store: Store) -> None:
    await store.begin_task(task(1), begun(1))
    with pytest.raises(StoreFault):
        await store.begin_task(task(1), begun(1))
    [event] = [event async for event in store.events(EventFilter(call_id="call_1"))]
    assert (event.kind, json.loads(event.body)["task"]) == (EventKind.TASK_BEGUN, "task_1")
    assert await store.find_task("task_1") == task(1)
    assert await store.find_task("task_2") is None
    assert await store.verify() == 1


async def test_an_owner_finds_its_latest_tasks_however_they_have_changed(store: Store) -> None:
    for number in (1, 2, 3):
        await store.begin_task(task(number), begun(number))
    await store.begin_task(task(4, "other"), begun(4))
    over = replace(task(1), is_open=False, body={"state": {"status": "completed", "n": 2**70}})
    await store.save_task(over, T0)
    await store.save_task(task(9), T0)
    assert await store.tasks_of("payer", 10) == [task(3), task(2), over]
    assert await store.tasks_of("payer", 2) == [task(3), task(2)]
    assert [each.id for each in await store.open_tasks()] == ["task_2", "task_3", "task_4"]


async def test_only_tasks_that_are_over_and_had_their_time_are_forgotten(store: Store) -> None:
    for number in (1, 2, 3):
        await store.begin_task(task(number), begun(number))
    for number in (1, 3):
        await store.save_task(task(number, is_open=False), T0)
    assert await store.forget_tasks(T0 + 3) == 1
    assert [each.id for each in await store.tasks_of("payer", 10)] == ["task_3", "task_2"]
