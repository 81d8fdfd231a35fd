"""Waiting for a call that this process carries out."""

import asyncio

from gateway.pipeline.inflight import InFlight

LONG_S = 60.0


async def test_whoever_waits_is_woken_when_the_call_ends() -> None:
    calls = InFlight()
    calls.begin("call_1")
    waiters = [asyncio.ensure_future(calls.ended("call_1", LONG_S)) for _ in range(3)]
    await asyncio.sleep(0)
    assert (len(calls), [waiter.done() for waiter in waiters]) == (1, [False] * 3)
    calls.end("call_1")
    assert await asyncio.gather(*waiters) == [True] * 3
    assert len(calls) == 0


async def test_patience_ends_before_a_call_that_takes_too_long() -> None:
    calls = InFlight()
    calls.begin("call_1")
    assert await calls.ended("call_1", 0.0) is False
    assert len(calls) == 1


async def test_a_call_that_nobody_here_carries_out_is_not_waited_for() -> None:
    calls = InFlight()
    assert await calls.ended("call_1", LONG_S) is False
    calls.end("call_1")
    assert await calls.ended("call_1", LONG_S) is False


async def test_a_call_that_ended_just_now_has_ended_for_who_read_the_ledger_before() -> None:
    calls = InFlight()
    calls.begin("call_1")
    calls.end("call_1")
    calls.end("call_1")
    assert await calls.ended("call_1", LONG_S) is True


async def test_one_call_that_ends_wakes_nobody_who_waits_for_another() -> None:
    calls = InFlight()
    calls.begin("call_1")
    calls.begin("call_2")
    waiter = asyncio.ensure_future(calls.ended("call_2", LONG_S))
    await asyncio.sleep(0)
    calls.end("call_1")
    await asyncio.sleep(0)
    assert not waiter.done()
    calls.end("call_2")
    assert await waiter is True
