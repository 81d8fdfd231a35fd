"""Slow reads are asked a second time where that is declared: the first answer counts, nothing is left behind."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.connector import ConnectorFault, ToolCall
from gateway.model.back import AskRefused, Back
from gateway.model.errors import LimitFault, OutcomeUnknown
from gateway.model.tool import Effect, Tool
from gateway.resilience import Executor, ResilienceConfig
from gateway.resilience.breaker import BreakerState
from tests.fixtures.clock import CountingIds, FakeClock
from tests.fixtures.scripted import ScriptedUpstream

READ = Tool("crm.get", "crm_get", "crm", "get", 1, "sha256:0", Effect.READ, {}, {}, idempotent=True, hedge=0.5)
FIRST: Mapping[str, Any] = {"content": [], "by": "first"}
SECOND: Mapping[str, Any] = {"content": [], "by": "second"}


class Client(Back):
    capabilities: Mapping[str, Any] = {"elicitation": {}}
    declares: Mapping[str, Any] = {"extensions": {"ui": {}}}
    lane = "one"
    wants_progress = True

    def __init__(self) -> None:
        self.told: list[Any] = []

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self.told.append((method, params))


class Run:
    """An executor, one upstream, and every attempt that was noted."""

    def __init__(self, *calls: Any, clock: FakeClock | None = None, **settings: Any) -> None:
        self.clock = clock or FakeClock()
        self.executor = Executor(self.clock, CountingIds(), ResilienceConfig(**{"max_attempts": 1, **settings}))
        self.upstream = ScriptedUpstream(*calls)
        self.attempts: list[Mapping[str, Any]] = []
        self.client = Client()

    async def execute(self, tool: Tool = READ, **more: Any) -> Mapping[str, Any]:
        call = ToolCall("get", {}, "call_1", 60.0, back=self.client, **more)
        return await self.executor.execute(tool, call, self.upstream, self.attempts.append)

    @property
    def noted(self) -> list[tuple[Any, ...]]:
        return [(each["n"], each["code"], each.get("hedge", False)) for each in self.attempts]


def once_both_are_asked(run: Run, answer: Any) -> Callable[[ToolCall], Awaitable[Any]]:
    """Answer once the second attempt was made."""

    async def step(call: ToolCall) -> Any:
        while len(run.upstream.asked) < 2:
            await asyncio.sleep(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return step


def after_the_hedge(run: Run) -> Callable[[ToolCall], Awaitable[Any]]:
    """Answer some time after a second attempt was due."""

    async def step(call: ToolCall) -> Any:
        due = len(run.clock.slept)
        while len(run.clock.slept) == due:
            await asyncio.sleep(0)
        for _ in range(9):
            await asyncio.sleep(0)
        return FIRST

    return step


class StandingClock(FakeClock):
    """Time passes only where a test says so; who waits does so until `rings` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.rings = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.rings.wait()


def never() -> asyncio.Event:
    return asyncio.Event()


async def test_a_read_that_is_answered_soon_is_asked_once() -> None:
    run = Run(FIRST)
    assert await run.execute() == FIRST
    assert run.noted == [(1, "ok", False)]


async def test_a_slow_read_is_asked_again_and_the_first_answer_counts() -> None:
    run = Run(never(), SECOND)
    assert await run.execute() == SECOND
    assert sorted(run.noted) == [(1, "cancelled", False), (1, "ok", True)]
    assert run.clock.slept == [0.5]
    first, second = run.upstream.asked
    assert (first.timeout_s, second.timeout_s) == (60.0, 59.5)
    assert first.measure is not second.measure


async def test_the_first_attempt_may_still_be_the_first_to_be_answered() -> None:
    go = asyncio.Event()

    async def late(call: ToolCall) -> Mapping[str, Any]:
        await go.wait()
        return FIRST

    async def begins(call: ToolCall) -> Mapping[str, Any]:
        go.set()
        await never().wait()
        raise AssertionError

    run = Run(late, begins)
    assert await run.execute() == FIRST
    assert sorted(run.noted) == [(1, "cancelled", True), (1, "ok", False)]


@pytest.mark.parametrize("fault", [ConnectorFault("no", code="rejected"), ConnectorFault("no", code="forbidden")])
async def test_a_refusal_is_an_answer(fault: ConnectorFault) -> None:
    run = Run(never(), fault)
    with pytest.raises(ConnectorFault) as caught:
        await run.execute()
    assert caught.value is fault
    assert sorted(run.noted) == [(1, "cancelled", False), (1, fault.code, True)]


@pytest.mark.parametrize(
    "second", [ConnectorFault("gone"), ConnectorFault("dead", code="credential_expired", sent=False), KeyError("bug")]
)
async def test_a_second_attempt_that_comes_to_nothing_leaves_the_first_to_be_waited_for(second: Exception) -> None:
    go = asyncio.Event()

    async def late(call: ToolCall) -> Mapping[str, Any]:
        await go.wait()
        return FIRST

    async def fails(call: ToolCall) -> Mapping[str, Any]:
        asyncio.get_running_loop().call_soon(go.set)
        raise second

    run = Run(late, fails)
    assert await run.execute() == FIRST
    assert [code for _, code, _ in run.noted][1] == "ok"


async def test_a_first_attempt_that_fails_leaves_the_second_to_be_waited_for() -> None:
    run = Run()

    async def later(call: ToolCall) -> Mapping[str, Any]:
        while not run.attempts:
            await asyncio.sleep(0)
        return SECOND

    run.upstream.calls += [once_both_are_asked(run, ConnectorFault("gone")), later]
    assert await run.execute() == SECOND
    assert sorted(run.noted) == [(1, "ok", True), (1, "unavailable", False)]


async def test_where_neither_is_answered_the_call_is_tried_again_without_a_hedge() -> None:
    run = Run(max_attempts=2)
    fault = ConnectorFault("gone")
    run.upstream.calls += [once_both_are_asked(run, fault), ConnectorFault("gone too"), FIRST]
    assert await run.execute() == FIRST
    assert [(n, hedge) for n, _, hedge in sorted(run.noted)] == [(1, False), (1, True), (2, False)]


async def test_a_hedge_needs_a_free_place_and_holds_one() -> None:
    run = Run(never(), concurrency=1)
    running = asyncio.ensure_future(run.execute())
    while run.clock.passed < 0.5:
        await asyncio.sleep(0)
    for _ in range(9):
        await asyncio.sleep(0)
    assert len(run.upstream.asked) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert run.noted == [(1, "cancelled", False)]


async def test_places_that_were_held_twice_are_free_again() -> None:
    run = Run(concurrency=2, queue=0)
    for _ in range(5):
        run.upstream.calls += [never(), SECOND]
        assert await run.execute() == SECOND
    run.upstream.calls += [never(), never()]
    running = asyncio.ensure_future(run.execute())
    while len(run.upstream.asked) < 12:
        await asyncio.sleep(0)
    with pytest.raises(LimitFault):
        await run.execute()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [(n, code) for n, code, _ in run.noted][-2:] == [(1, "cancelled")] * 2
    assert await run.execute() == {"content": []}


async def test_calling_it_off_calls_both_attempts_off() -> None:
    run = Run(never(), never())
    before = asyncio.all_tasks()
    running = asyncio.ensure_future(run.execute())
    while len(run.upstream.asked) < 2:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(run.noted) == [(1, "cancelled", False), (1, "cancelled", True)]
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    "tool",
    [
        replace(READ, effect=Effect.WRITE),
        replace(READ, effect=Effect.IRREVERSIBLE),
        replace(READ, idempotent=False),
        replace(READ, hedge=None),
    ],
)
async def test_nothing_else_is_ever_asked_twice(tool: Tool) -> None:
    run = Run(ConnectorFault("gone", code="timeout"))
    with pytest.raises((ConnectorFault, OutcomeUnknown)):
        await run.execute(tool, idempotency_key="key")
    assert (len(run.upstream.asked), run.clock.slept) == (1, [])


@pytest.mark.parametrize("more", [{"method": "tasks/get"}, {"more": {"inputResponses": {}}}, {"more": {"task": {}}}])
async def test_what_is_about_a_task_or_carries_on_an_earlier_request_is_asked_once(more: dict[str, Any]) -> None:
    run = Run(FIRST)
    await run.execute(**more)
    assert run.clock.slept == []


async def test_the_client_hears_and_is_asked_by_the_first_attempt_alone() -> None:
    async def tells(call: ToolCall) -> Mapping[str, Any]:
        back = call.back
        assert (back.capabilities, back.declares, back.lane) == (Client.capabilities, Client.declares, "one")
        back.notify("notifications/progress", {"by": len(run.upstream.asked)})
        if len(run.upstream.asked) == 1:
            await never().wait()
        with pytest.raises(AskRefused):
            await back.ask("elicitation/create", {})
        return SECOND

    run = Run(tells, tells)
    assert await run.execute() == SECOND
    assert run.client.told == [("notifications/progress", {"by": 1})]


async def test_a_call_whose_client_is_being_asked_is_not_asked_twice() -> None:
    run = Run()
    run.client.was_asked = True
    run.upstream.calls.append(after_the_hedge(run))
    assert await run.execute() == FIRST
    assert run.noted == [(1, "ok", False)]


async def test_a_server_that_is_left_alone_is_not_asked_twice() -> None:
    run = Run(ConnectorFault("gone"), breaker_calls=1, breaker_min_calls=1)
    with pytest.raises(ConnectorFault):
        await run.execute()
    await run.clock.sleep(15)
    run.upstream.calls.append(after_the_hedge(run))
    assert await run.execute() == FIRST
    assert len(run.upstream.asked) == 2
    assert run.executor.breakers()["crm"].state is BreakerState.CLOSED


async def test_what_is_slow_for_a_tool_is_learnt_from_its_last_calls() -> None:
    clock = StandingClock()
    run, tool = Run(clock=clock), replace(READ, hedge="p95")

    def takes(seconds: float) -> Callable[[ToolCall], Awaitable[Mapping[str, Any]]]:
        async def step(call: ToolCall) -> Mapping[str, Any]:
            run.clock.passed += seconds
            return FIRST

        return step

    async def calls(count: int, seconds: float) -> list[float]:
        """Return after how long each of so many calls would have been asked again."""
        clock.slept.clear()
        for _ in range(count):
            run.upstream.calls.append(takes(seconds))
            await run.execute(tool)
        return clock.slept

    assert await calls(1, 9.0) == await calls(19, 0.25) == []
    assert await calls(1, 0.25) == [9.0]
    assert (await calls(100, 0.25))[-1] == 0.25
    clock.rings.set()
    run.upstream.calls += [never(), SECOND]
    assert await run.execute(tool) == SECOND
