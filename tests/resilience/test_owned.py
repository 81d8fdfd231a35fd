"""What the gateway owns is finished, whoever leaves."""

import asyncio
import inspect
from contextlib import suppress

import pytest

from gateway.resilience import OwnedTasks
from gateway.resilience.owned import _MOST_IDLE


async def test_work_gives_back_what_it_returns_or_raises() -> None:
    owned = OwnedTasks()
    assert await owned.run(asyncio.sleep(0, "done")) == "done"

    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await owned.run(fail())
    assert len(owned) == 0


async def test_a_cancelled_caller_does_not_cancel_the_work() -> None:
    owned, gate, ended = OwnedTasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await gate.wait()
        ended.set()

    caller = asyncio.ensure_future(owned.run(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert len(owned) == 1
    gate.set()
    assert await owned.drain(5.0) == 0
    assert ended.is_set()


async def test_draining_waits_for_work_that_starts_more_work() -> None:
    owned, ended = OwnedTasks(), asyncio.Event()

    async def second() -> None:
        await asyncio.sleep(0)
        ended.set()

    async def first() -> None:
        await asyncio.sleep(0)
        owned.start(second())

    owned.start(first())
    assert await owned.drain(5.0) == 0
    assert ended.is_set()


async def test_draining_cancels_what_does_not_end_in_time_and_says_how_much() -> None:
    owned = OwnedTasks()
    tasks = [owned.start(asyncio.sleep(600)) for _ in range(2)]
    assert await owned.drain(0.01) == 2
    assert all(task.cancelled() for task in tasks)
    assert len(owned) == 0


async def test_draining_nothing_is_done_at_once() -> None:
    assert await OwnedTasks().drain(600.0) == 0


async def test_work_that_is_called_off_is_called_off_for_whoever_waits() -> None:
    owned = OwnedTasks()
    waiting = owned.run(asyncio.sleep(600))
    assert await owned.drain(0.01) == 1
    assert waiting.cancelled()


async def test_a_failure_that_nobody_waits_for_any_more_is_nobodys() -> None:
    owned, gate = OwnedTasks(), asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise KeyError("x")

    waiting = owned.run(fail())
    waiting.cancel()
    gate.set()
    assert await owned.drain(5.0) == 0  # and a failure that was not looked at would be reported as one of this test


async def test_one_task_does_one_piece_of_work_after_another_as_long_as_none_is_called_off() -> None:
    owned = OwnedTasks()

    async def work() -> asyncio.Task[None] | None:
        await asyncio.sleep(0)
        return asyncio.current_task()

    async def stopped() -> asyncio.Task[None] | None:
        task = asyncio.current_task()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(600)
        return task

    first = await owned.run(work())
    assert await owned.run(work()) is first
    both = await asyncio.gather(owned.run(work()), owned.run(work()))
    assert first in both
    assert both[0] is not both[1]
    waiting = owned.run(stopped())
    await asyncio.sleep(0)
    (begun,) = owned.tasks
    begun.cancel()
    assert await waiting is begun
    assert await owned.run(work()) is not begun
    assert len(owned) == 0


async def test_what_rests_ends_with_the_gateway_and_what_comes_then_is_done_in_a_task_of_its_own() -> None:
    owned = OwnedTasks()

    async def work() -> asyncio.Task[None] | None:
        return asyncio.current_task()

    resting = await owned.run(work())
    assert resting is not None
    assert await owned.drain(5.0) == 0
    await asyncio.wait([resting])
    assert resting.cancelled()
    last = await owned.run(work())
    assert last is not None
    await asyncio.wait([last])
    assert not last.cancelled()


async def test_work_is_done_though_the_task_that_rested_was_ended_by_others() -> None:
    owned = OwnedTasks()

    async def work() -> asyncio.Task[None] | None:
        return asyncio.current_task()

    resting = await owned.run(work())
    assert resting is not None
    resting.cancel()
    other = await owned.run(work())
    assert other is not resting
    assert other is not None
    other.cancel()
    await asyncio.wait([other])
    assert await owned.drain(5.0) == 0


@pytest.mark.parametrize("rested", [False, True])
async def test_work_for_a_task_that_is_called_off_in_that_turn_never_begins(rested: bool) -> None:
    owned = OwnedTasks()
    if rested:
        await owned.run(asyncio.sleep(0))
    work = asyncio.sleep(0)
    end = owned.run(work)
    [task] = owned.tasks
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await end
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


async def test_only_so_many_tasks_rest() -> None:
    owned = OwnedTasks()
    await asyncio.gather(*(owned.run(asyncio.sleep(0)) for _ in range(_MOST_IDLE + 1)))
    assert len(owned._idle) == _MOST_IDLE
