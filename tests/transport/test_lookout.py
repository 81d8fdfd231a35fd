"""Requests that take long are looked after, those that are over by then are not, and none is forgotten."""

import asyncio

from gateway.transport.lookout import Lookout


async def test_only_what_takes_long_is_looked_after() -> None:
    lookout, begun = Lookout(0.01), asyncio.Queue[str]()
    short = lookout.add(lambda: begun.put_nowait("short"))
    lookout.add(lambda: begun.put_nowait("long"))
    short.over = True
    async with asyncio.timeout(10):
        assert await begun.get() == "long"
        lookout.add(lambda: begun.put_nowait("later"))
        assert await begun.get() == "later"
    assert begun.empty()


async def test_each_is_given_its_whole_time() -> None:
    loop = asyncio.get_running_loop()
    lookout, begun = Lookout(0.05), asyncio.Queue[float]()
    lookout.add(lambda: begun.put_nowait(loop.time()))
    await asyncio.sleep(0.02)
    added = loop.time()
    lookout.add(lambda: begun.put_nowait(loop.time()))
    async with asyncio.timeout(10):
        await begun.get()
        assert await begun.get() >= added + 0.05
