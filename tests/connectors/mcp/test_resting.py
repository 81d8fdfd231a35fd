"""A server that nobody uses is stopped where its section says so, and started again by the next call."""

import asyncio
import os
from typing import Any

import pytest

from gateway.connector import Upstream
from tests.connectors.mcp.conftest import Start, asked, fault_of, stdio, text
from tests.connectors.mcp.test_process import gone
from tests.connectors.mcp.test_talk import talker

ROUNDS = int(os.environ.get("TOOLGATE_LEAK_ROUNDS", "60"))


def resting(after_s: float = 0.1, *habits: str, **more: Any) -> dict[str, Any]:
    return stdio("modern", *habits, stop={"grace_s": 0.3, "after_idle_s": after_s}, **more)


async def process(upstream: Upstream) -> int:
    [number] = text(await upstream.call(asked("pids")))
    return int(number)


async def test_a_server_that_is_not_called_is_stopped_and_the_next_call_starts_another(start: Start) -> None:
    upstream = await start(resting())
    first = await process(upstream)
    assert await gone(first)
    second = await process(upstream)
    assert second != first
    assert await gone(second)
    assert [tool["name"] for tool in await upstream.tools()] == ["echo"]


async def test_asking_for_the_tools_of_a_server_at_rest_does_not_start_it(start: Start) -> None:
    upstream = await start(resting())
    known = await upstream.tools()
    assert await gone(await process(upstream))
    before = set(os.listdir("/proc/self/fd"))
    assert await upstream.tools() == known
    assert set(os.listdir("/proc/self/fd")) == before
    assert await upstream.listed("resources/list") == ()  # somebody wants something of it
    assert await process(upstream)


async def test_a_call_under_way_is_use_however_long_it_takes(start: Start) -> None:
    upstream = await start(resting(0.05))
    flying = asyncio.ensure_future(fault_of(upstream.call(asked("hang", timeout_s=0.4))))
    await asyncio.sleep(0)
    first = await process(upstream)
    assert (await flying).code == "timeout"
    assert await process(upstream) == first
    assert await gone(first)


async def test_a_server_that_is_watched_is_not_stopped(start: Start) -> None:
    upstream = await start({**talker("legacy"), "stop": {"after_idle_s": 0.05}})
    await upstream.watch(frozenset({"test://a"}))
    about = text(await upstream.call(asked("about")))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await gone(about["pid"])
    assert text(await upstream.call(asked("about")))["pid"] == about["pid"]
    await upstream.watch(frozenset())
    assert await gone(about["pid"])


async def test_starts_crashes_and_rests_leave_no_process_no_descriptor_and_no_task(start: Start) -> None:
    upstream = await start(resting(0.01))
    started = {await process(upstream)}
    assert await gone(*started)
    before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
    for number in range(ROUNDS):
        pid = await process(upstream)
        started.add(pid)
        if number % 2:
            await fault_of(upstream.call(asked("crash")))
        assert await gone(pid)  # it rests, if it has not crashed
    assert len(started) == ROUNDS + 1
    await upstream.close()
    assert len(os.listdir("/proc/self/fd")) <= before[0]
    assert len(asyncio.all_tasks()) <= before[1]
