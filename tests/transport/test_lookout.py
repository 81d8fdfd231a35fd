"""Requests that take long are looked after, those that are over by then are not, and none is forgotten."""

import asyncio

from gateway.transport.lookout import Lookout


class Request:
    """One under way, which tells when it is looked after, and when it lasts."""

    def __init__(self, more_s: float | None = None) -> None:
        self.more_s = more_s
        self.late, self.lasting = asyncio.Event(), asyncio.Event()

    def look_after(self) -> float | None:
        self.late.set()
        return self.more_s

    def lasts(self) -> None:
        self.lasting.set()


async def test_only_what_takes_long_is_looked_after() -> None:
    lookout, short, long = Lookout(0.01), Request(), Request()
    lookout.add(short)
    lookout.add(long)
    lookout.drop(short)
    async with asyncio.timeout(10):
        await long.late.wait()
        lookout.drop(long)
        later = Request()
        lookout.add(later)
        await later.late.wait()
    assert not short.late.is_set()


async def test_what_was_seen_once_and_is_over_then_is_not_looked_after() -> None:
    lookout, first, other = Lookout(0.01), Request(), Request()
    lookout.add(first)
    async with asyncio.timeout(10):
        while first not in lookout._seen:
            await asyncio.sleep(0)
        lookout.drop(first)
        lookout.add(other)
        await other.late.wait()
    assert not first.late.is_set()


async def test_each_is_given_its_whole_time() -> None:
    loop = asyncio.get_running_loop()
    lookout, first, second = Lookout(0.05), Request(), Request()
    lookout.add(first)
    await asyncio.sleep(0.02)
    added = loop.time()
    lookout.add(second)
    async with asyncio.timeout(10):
        await second.late.wait()
    assert first.late.is_set()
    assert loop.time() >= added + 0.05


async def test_each_that_lasts_is_told_so_in_its_time_whatever_the_others_do() -> None:
    lookout, over, quick, slow, none = Lookout(0.001), Request(9.0), Request(0.01), Request(0.05), Request()
    for request in (slow, over, quick, none):
        lookout.add(request)
    async with asyncio.timeout(10):
        await asyncio.gather(*(each.late.wait() for each in (over, quick, slow, none)))
        lookout.drop(over)
        await asyncio.gather(quick.lasting.wait(), slow.lasting.wait())
        later = Request(0.001)
        lookout.add(later)
        await later.lasting.wait()
    assert not over.lasting.is_set()
    assert not none.lasting.is_set()
