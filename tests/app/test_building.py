"""Rules are built one at a time, from what servers answered until then."""

import asyncio

import pytest

from gateway.app.building import Builds
from gateway.catalog.catalog import Live
from tests.identity.doubles import settle

ONE, OTHER = Live([{"name": "a"}]), Live([{"name": "b"}])


class Site:
    """Where each build waits until it is let go on."""

    def __init__(self) -> None:
        self.live: dict[str, Live] = {}
        self.begun: list[dict[str, Live]] = []
        self.goes_on = asyncio.Semaphore(0)
        self.builds = Builds(self.build)

    async def build(self) -> None:
        live = dict(self.live)
        self.begun.append(live)
        await self.goes_on.acquire()
        self.builds.built_from(live, self.live)

    def answers(self, **live: Live) -> None:
        self.live |= live
        self.builds.ask(dict(self.live))


async def test_what_servers_answer_while_rules_are_built_is_built_from_once_after() -> None:
    site = Site()
    site.answers(a=ONE)
    await settle()
    site.answers(b=ONE)
    site.answers(a=OTHER)
    assert (site.begun, site.builds.due) == ([{"a": ONE}], {"a", "b"})
    done = asyncio.ensure_future(site.builds.done())
    site.goes_on.release()
    await settle()
    assert (len(site.begun), site.builds.due, done.done()) == (2, {"a", "b"}, False)
    site.goes_on.release()
    await done
    assert (site.begun[1:], site.builds.due) == ([{"a": OTHER, "b": ONE}], frozenset())


async def test_who_gives_up_waiting_does_not_end_the_build() -> None:
    site = Site()
    site.answers(a=ONE)
    waits = asyncio.ensure_future(site.builds.done())
    await settle()
    waits.cancel()
    site.goes_on.release()
    await site.builds.done()
    assert (waits.cancelled(), site.builds.due) == (True, frozenset())


async def test_a_build_that_fails_is_told_and_leaves_due_what_was() -> None:
    async def fails() -> None:
        raise OSError("read-only file system")

    builds = Builds(fails)
    await builds.done()
    await builds.close()  # of none
    builds.ask({"a": ONE})
    with pytest.raises(OSError, match="read-only"):
        await builds.done()
    assert builds.due == {"a"}


async def test_a_build_that_failed_is_made_again_for_the_next_who_waits() -> None:
    built: list[str] = []

    async def fails_once() -> None:
        built.append("built")
        if len(built) == 1:
            raise OSError("no space left on device")

    builds = Builds(fails_once)
    builds.ask({"a": ONE})
    with pytest.raises(OSError, match="no space"):
        await builds.done()
    await asyncio.gather(builds.done(), builds.done())
    await builds.done()
    assert len(built) == 2


async def test_a_build_under_way_ends_with_the_gateway_and_so_does_the_next() -> None:
    site = Site()
    site.answers(a=ONE)
    await settle()
    site.answers(a=OTHER)
    await site.builds.close()
    site.goes_on.release()
    await settle()
    assert (len(site.begun), site.builds.due) == (1, {"a"})
    with pytest.raises(asyncio.CancelledError):
        await site.builds.done()
