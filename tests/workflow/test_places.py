"""Where a conversation goes on: what the agent or an operator said last, also after a restart."""

import pytest

from gateway.model.errors import RequestFault
from gateway.model.identity import Credential, Identity
from gateway.model.request import Caller, CallRequest
from gateway.store.memory import MemoryStore
from gateway.store.runs import ANYWHERE, AttemptBegin, RunCancel
from gateway.workflow.places import IDLE_MS
from gateway.workflow.runs import Runs, nobody_joins
from tests.identity.doubles import CountingIds, HandClock

PAYER = Identity("payer", "token", "tg_1")


class World:
    """A gateway's runs, and an operator beside it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.ids = CountingIds()
        self.store = MemoryStore(self.clock)
        self.runs = self.process()

    def process(self) -> Runs:
        return Runs(self.store, self.clock, self.ids)

    def asking(self, session: str | None = None, attempt: str | None = None) -> CallRequest:
        return CallRequest("x", {}, Caller(Credential("bearer", "x"), session=session), attempt=attempt)

    async def run(self, session: str | None = None, attempt: str | None = None, key: str = "") -> str:
        request = self.asking(session, attempt)
        remembered = None if key else self.runs.here(PAYER, request, self.clock.now_ms())
        found = await self.runs.resolve(PAYER, request, ("w", key) if key else None)
        assert remembered is None or remembered == found  # what takes no waiting is the same
        if not key:
            self.runs.here(PAYER, request, self.clock.now_ms())
        return found.id

    async def resume(self, run: str, session: str | None = None) -> int:
        return (await self.runs.resume(PAYER, self.asking(session), run, nobody_joins)).attempt

    async def operator_resumes(self, run: str) -> None:
        now = self.clock.now_ms()
        await self.store.begin_attempt(AttemptBegin(run, "payer", now, "os:op", anew=True))
        await self.store.place_run("payer", ANYWHERE, run, now)
        await self.runs.refresh()


@pytest.fixture
def world() -> World:
    return World()


async def test_what_an_agent_resumes_it_goes_on_with_also_after_a_restart(world: World) -> None:
    old = await world.run("s1")
    assert await world.resume(old, "s2") == 2
    assert await world.run("s2") == old
    assert await world.run("s3") != old
    world.runs = world.process()
    assert await world.run("s2") == old
    assert (await world.runs.resolve(PAYER, world.asking("s2"), None)).attempt == 2


async def test_a_started_run_outlives_the_process_too(world: World) -> None:
    started = await world.runs.start(PAYER, world.asking().caller)
    world.runs = world.process()
    assert await world.run() == started.id


async def test_without_a_session_a_place_is_left_once_nothing_happened_there_for_long(world: World) -> None:
    started = await world.runs.start(PAYER, world.asking().caller)
    for _ in range(3):
        world.clock.jump(IDLE_MS / 1000)
        assert await world.run() == started.id
    world.clock.jump(IDLE_MS / 1000 + 1)
    assert await world.run() != started.id
    world.runs = world.process()
    assert await world.run() != started.id


async def test_a_session_keeps_its_place_however_long_it_rests(world: World) -> None:
    old = await world.run()
    await world.resume(old, "s1")
    world.clock.jump(10 * IDLE_MS / 1000)
    assert await world.run("s1") == old
    world.runs = world.process()
    assert await world.run("s1") == old


async def test_an_unchanged_agent_goes_on_with_what_an_operator_resumes(world: World) -> None:
    old = await world.run("s1")
    await world.operator_resumes(old)
    assert [await world.run(f"new{n}") for n in range(3)] == [old] * 3  # also one that opens a session for each call
    assert await world.run() == old
    assert (await world.runs.resolve(PAYER, world.asking("new1"), None)).attempt == 2
    world.runs = world.process()
    assert await world.run("new9") == old


async def test_a_conversation_under_way_elsewhere_is_left_alone(world: World) -> None:
    old, other = await world.run("s1"), await world.run("s2")
    await world.operator_resumes(old)
    assert await world.run("s2") == other
    world.runs = world.process()
    assert await world.run("s2") == other
    assert await world.run(key="p_17") != old  # nor is what a workflow names


async def test_what_was_said_last_counts(world: World) -> None:
    first, second = await world.run("s1"), await world.run("s2")
    await world.operator_resumes(first)
    await world.operator_resumes(second)
    assert await world.run("s3") == second
    world.clock.jump(1)
    started = await world.runs.start(PAYER, world.asking().caller)
    assert await world.run() == started.id
    world.runs = world.process()
    assert await world.run() == started.id
    world.clock.jump(1)
    await world.operator_resumes(first)
    assert await world.run() == first


async def test_what_an_operator_resumes_is_left_once_nothing_happens_in_it(world: World) -> None:
    old = await world.run("s1")
    await world.operator_resumes(old)
    world.clock.jump(IDLE_MS / 1000 + 1)
    assert await world.run("s3") != old


async def test_only_a_run_of_its_own_that_is_open_can_be_resumed(world: World) -> None:
    run = await world.run("s1")
    other = Identity("other", "token", "tg_2")
    for identity, named in ((PAYER, "job"), (PAYER, "run_nobody"), (other, run)):
        with pytest.raises(RequestFault) as refused:
            await world.runs.resume(identity, world.asking(), named, nobody_joins)
        assert refused.value.code == "invalid_arguments"
    await world.store.cancel_run(RunCancel(run, 1, "os:op"))
    await world.runs.refresh()
    with pytest.raises(RequestFault) as refused:
        await world.resume(run)
    assert refused.value.code == "run_cancelled"


async def test_a_labelled_agent_that_resumes_by_itself_keeps_its_label(world: World) -> None:
    run = await world.run("s1", "a1")
    resumed = await world.runs.resume(PAYER, world.asking("s1", "a1"), run, nobody_joins)
    assert resumed.attempt == 2
    assert (await world.runs.resolve(PAYER, world.asking("s1", "a1"), None)).attempt == 2
    assert await world.resume(run, "s1") == 3  # as it called itself before
    assert (await world.runs.resolve(PAYER, world.asking("s1", "a1"), None)).attempt == 3


async def test_what_others_make_of_runs_is_taken_in_again_and_again(world: World) -> None:
    class Waking(HandClock):
        naps = 0

        async def sleep(self, seconds: float) -> None:
            self.naps += 1
            if self.naps == 3:
                raise KeyboardInterrupt

    run = await world.run("s1")
    clock = Waking()
    runs = Runs(world.store, clock, world.ids)
    await runs.resolve(PAYER, world.asking("s1"), None)
    await world.store.cancel_run(RunCancel(run, 1, "os:op"))
    with pytest.raises(KeyboardInterrupt):
        await runs.watch()
    with pytest.raises(RequestFault):
        await runs.resolve(PAYER, world.asking("s1"), None)
