"""Which run a call belongs to: minted by the gateway, bound to its owner, the same for calls that belong together."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.errors import RequestFault, StoreFault
from gateway.model.facts import RunRef
from gateway.model.identity import Credential, Identity
from gateway.model.request import Caller, CallRequest
from gateway.store.memory import MemoryStore
from gateway.workflow.places import IDLE_MS
from gateway.workflow.runs import _STANDING, CACHED, Runs, nobody_joins, owner_of
from tests.identity.doubles import CountingIds, HandClock, settle

PAYER = Identity("payer", "token", "tg_1")
READER = Identity("reader", "token", "tg_2")
FOR_ALICE = Identity("payer", "jwt", "jwt:1", on_behalf_of="alice")
FOR_BOB = Identity("payer", "jwt", "jwt:2", on_behalf_of="bob")
OWNERS = (PAYER, READER, FOR_ALICE, FOR_BOB)


def caller(session: str | None = None, trace: str | None = None) -> Caller:
    return Caller(Credential("bearer", "x"), session=session, trace=trace)


def asking(where: Caller | None = None, run: str | None = None, attempt: str | None = None) -> CallRequest:
    return CallRequest("payments_list", {}, where or caller(), run=run, attempt=attempt)


class CountedStore(MemoryStore):
    """Counts what it is asked, and lets other callers run in between."""

    asked = 0
    broken = False
    statuses: dict[str, str]

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.statuses = {}
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def open_run(self, run: RunRef, key: str, at_ms: int) -> RunRef:
        self.asked += 1
        await asyncio.sleep(0)
        await self.may_answer.wait()
        if self.broken:
            raise StoreFault("no")
        return await super().open_run(run, key, at_ms)

    async def count_steps(self, run_id: str) -> int:
        held = await super().count_steps(run_id)
        await asyncio.sleep(0)
        return held

    async def find_run(self, run_id: str) -> RunRef | None:
        self.asked += 1
        found = await super().find_run(run_id)
        if found is None or run_id not in self.statuses:
            return found
        return RunRef(found.id, found.owner, found.source, self.statuses[run_id])


class World:
    """A gateway's runs, which may be restarted over the same store."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.ids = CountingIds()
        self.store = CountedStore(self.clock)
        self.runs = self.process()

    def process(self, cached: int = CACHED) -> Runs:
        return Runs(self.store, self.clock, self.ids, cached=cached)

    async def run(
        self,
        identity: Identity = PAYER,
        where: Caller | None = None,
        explicit: str | None = None,
        key: tuple[str, str] | None = None,
    ) -> RunRef:
        request = asking(where, explicit)
        remembered = None if key is not None else self.runs.here(identity, request, self.clock.now_ms())
        found = await self.runs.resolve(identity, request, key)
        assert remembered is None or remembered == found  # what takes no waiting is the same
        if key is None:  # from now on it is found at once
            self.runs.here(identity, request, self.clock.now_ms())
        return found

    async def refusal(self, explicit: str, identity: Identity = PAYER) -> RequestFault:
        with pytest.raises(RequestFault) as refusal:
            await self.run(identity, explicit=explicit)
        return refusal.value


@pytest.fixture
def world() -> World:
    return World()


async def test_calls_without_any_name_share_one_open_run_per_owner(world: World) -> None:
    first = await world.run()
    assert (first.owner, first.source, first.status) == ("payer", "open", "open")
    assert await world.run() == first
    others = [await world.run(identity) for identity in (READER, FOR_ALICE, FOR_BOB)]
    assert len({first.id, *(other.id for other in others)}) == 4
    assert [other.owner for other in others] == ["reader", "payer/alice", "payer/bob"]
    assert await world.store.find_run(first.id) is not None


async def test_traces_and_sessions_part_the_work_of_one_owner(world: World) -> None:
    places = [caller(), caller(trace="t1"), caller(trace="t2"), caller(session="s1"), caller(session="s1", trace="t1")]
    runs = [await world.run(where=place) for place in places]
    assert len({run.id for run in runs}) == 4
    assert runs[3] == runs[4]  # a session is one conversation whatever is traced in it
    assert [run.source for run in runs] == ["open", "open", "open", "session", "session"]


async def test_the_order_is_explicit_then_key_then_started_then_session_then_open(world: World) -> None:
    place = caller(session="s1", trace="t1")
    by_session = await world.run(where=place)
    started = await world.runs.start(PAYER, place)
    assert await world.run(where=place) == started
    by_key = await world.run(where=place, key=("pay-invoice", "p_17"))
    named = await world.run(where=place, key=("pay-invoice", "p_17"), explicit="job-42")
    by_handle = await world.run(where=place, key=("pay-invoice", "p_17"), explicit=by_session.id)
    assert len({by_session.id, started.id, by_key.id, named.id}) == 4
    assert by_handle.id == by_session.id
    assert [run.source for run in (by_session, started, by_key, named, by_handle)] == [
        "session",
        "handle",
        "key",
        "meta",
        "handle",
    ]


async def test_a_key_argument_names_one_run_across_sessions_of_its_owner_only(world: World) -> None:
    key = ("pay-invoice", "p_17")
    first = await world.run(where=caller("s1"), key=key)
    assert await world.run(where=caller("s2"), key=key) == first
    others = [
        await world.run(key=("pay-invoice", "p_18")),
        await world.run(key=("refund", "p_17")),
        await world.run(READER, key=key),
        await world.run(FOR_ALICE, key=key),
    ]
    assert len({first.id, *(run.id for run in others)}) == 5


async def test_a_name_of_the_callers_own_is_a_key_not_an_id(world: World) -> None:
    first = await world.run(explicit="job-42")
    assert first.id != "job-42"
    assert first.id.startswith("run_")
    assert await world.run(explicit="job-42", where=caller("s9")) == first
    assert (await world.run(READER, explicit="job-42")).id != first.id
    assert (await world.run(key=("name", "job-42"))).id != first.id


async def test_a_run_of_another_owner_is_refused_as_if_it_did_not_exist(world: World) -> None:
    mine = await world.run(FOR_ALICE)
    unknown = await world.refusal("run_" + "f" * 32)
    for stranger in (PAYER, READER, FOR_BOB):
        refusal = await world.refusal(mine.id, stranger)
        assert (refusal.code, refusal.message, refusal.detail) == (unknown.code, unknown.message, unknown.detail)
    assert (await world.run(FOR_ALICE, explicit=mine.id)).id == mine.id
    assert unknown.code == "invalid_arguments"
    assert "run.start" in unknown.message


async def test_another_owners_session_or_trace_id_opens_nothing_of_theirs(world: World) -> None:
    mine = [await world.run(where=place) for place in (caller("s1"), caller(trace="t1"))]
    await world.runs.start(PAYER, caller("s1"))
    theirs = [await world.run(READER, where=place) for place in (caller("s1"), caller(trace="t1"))]
    assert not {run.id for run in mine} & {run.id for run in theirs}
    assert all(run.owner == "reader" for run in theirs)


@pytest.mark.parametrize(
    "name", ["", "x" * 257, "a\nb", "a\x00", "a\u202e", "\ud800", "run_" + "x" * 300, "run_", "run_1"]
)
async def test_a_name_that_cannot_be_used_is_refused(world: World, name: str) -> None:
    assert (await world.refusal(name)).code == "invalid_arguments"


async def test_a_run_that_is_no_longer_open_is_refused_within_a_second(world: World) -> None:
    run = await world.run()
    assert (await world.run(explicit=run.id)).id == run.id
    world.store.statuses[run.id] = "cancelled"
    world.clock.jump(1)
    assert (await world.refusal(run.id)).code == "run_cancelled"


async def test_an_open_run_ends_after_the_idle_time_counted_from_its_last_call(world: World) -> None:
    first = await world.run()
    for _ in range(5):
        world.clock.jump(IDLE_MS / 1000)
        assert await world.run() == first
    world.clock.jump(IDLE_MS / 1000 + 0.001)
    second = await world.run()
    assert second.id != first.id
    assert await world.run() == second


@given(st.lists(st.integers(0, 3 * IDLE_MS), min_size=1, max_size=12))
async def test_idle_time_parts_runs_and_nothing_else_does(gaps: Sequence[int]) -> None:
    world = World()
    previous = await world.run()
    seen = {previous.id}
    for gap in gaps:
        world.clock.jump(gap / 1000)
        run = await world.run()
        assert (run.id == previous.id) is (gap <= IDLE_MS)
        assert run.id == previous.id or run.id not in seen
        seen.add(run.id)
        previous = run


async def test_sessions_names_and_keys_do_not_end_by_idling(world: World) -> None:
    async def all_runs() -> list[RunRef]:
        return [
            await world.run(where=caller("s1")),
            await world.run(explicit="job-42"),
            await world.run(key=("pay", "1")),
            await world.run(where=caller("s2")),
        ]

    started = await world.runs.start(PAYER, caller("s2"))
    before = await all_runs()
    world.clock.jump(10 * IDLE_MS / 1000)
    assert await all_runs() == before
    assert before[3] == started


async def test_a_started_run_holds_its_conversation_until_the_next_start_or_the_idle_time(world: World) -> None:
    plain = await world.run()
    first = await world.runs.start(PAYER, caller())
    assert await world.run() == first
    assert (await world.run(where=caller(trace="t1"))).id not in {plain.id, first.id}
    second = await world.runs.start(PAYER, caller())
    assert second.id != first.id
    world.clock.jump(IDLE_MS / 1000)
    assert await world.run() == second
    world.clock.jump(IDLE_MS / 1000 + 0.001)
    assert (await world.run()).id not in {first.id, second.id}
    assert (await world.run(explicit=first.id)).id == first.id


async def test_parallel_first_calls_get_one_run(world: World) -> None:
    for options in ({}, {"explicit": "job-42"}, {"key": ("pay", "1")}, {"where": caller("s1")}):
        runs = await asyncio.gather(*(world.run(**options) for _ in range(20)))
        assert len({run.id for run in runs}) == 1
    processes = [world.process() for _ in range(5)]
    runs = await asyncio.gather(*(p.resolve(READER, asking(caller("s1")), None) for p in processes))
    assert len({run.id for run in runs}) == 1


async def test_a_caller_who_goes_away_does_not_take_the_run_with_it(world: World) -> None:
    waiting = [asyncio.create_task(world.run()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1] == results[2] == await world.run()


async def test_closing_waits_for_a_run_that_is_being_opened_for_nobody(world: World) -> None:
    world.store.may_answer.clear()
    waiting = asyncio.create_task(world.run())
    await settle()
    waiting.cancel()
    closing = asyncio.create_task(world.runs.close())
    await settle()
    assert waiting.cancelled()
    assert not closing.done()
    world.store.may_answer.set()
    await closing
    assert world.store.asked == 1
    await world.run()
    assert world.store.asked == 1
    await world.runs.close()


async def test_a_run_whose_opening_is_cancelled_at_shutdown_is_opened_by_the_next_call(world: World) -> None:
    world.store.may_answer.clear()
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(world.run())
    await settle()
    for task in asyncio.all_tasks() - before - {waiting}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    world.store.may_answer.set()
    assert (await world.run()).owner == "payer"


async def test_a_failing_store_refuses_every_waiter_and_is_asked_again_later(world: World) -> None:
    world.store.broken = True
    results = await asyncio.gather(*(world.run() for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, StoreFault) for result in results)
    abandoned = asyncio.create_task(world.run())
    await asyncio.sleep(0)
    abandoned.cancel()
    await asyncio.gather(abandoned, return_exceptions=True)
    await world.runs.close()
    world.store.broken = False
    assert (await world.run()).owner == "payer"


async def test_runs_are_found_again_after_a_restart(world: World) -> None:
    wanted = [({}), ({"explicit": "job-42"}), ({"key": ("pay", "1")}), ({"where": caller("s1")})]
    before = [await world.run(**options) for options in wanted]
    world.runs = world.process()
    assert [await world.run(**options) for options in wanted] == before


async def test_the_store_is_asked_once_for_a_run_in_use(world: World) -> None:
    run = await world.run()
    await world.run(explicit=run.id)
    asked = world.store.asked
    for _ in range(10):
        await world.run()
        await world.run(explicit=run.id)
    assert world.store.asked == asked


async def test_a_conversation_is_found_without_waiting_until_something_about_it_changes(world: World) -> None:
    def here(label: str | None = None) -> RunRef | None:
        return world.runs.here(PAYER, asking(caller("s1"), attempt=label), world.clock.now_ms())

    assert here() is None
    run = await world.run(where=caller("s1"))
    assert here() == here() == run
    assert here("again") is None  # another attempt, of which nothing is known
    started = await world.runs.start(PAYER, caller("s1"))
    assert here() is None
    assert await world.run(where=caller("s1")) == started
    assert here() == here() == started
    await world.runs.resume(PAYER, asking(caller("s1")), started.id, nobody_joins)
    assert here() is None  # in its second attempt
    assert (await world.run(where=caller("s1"))).attempt == 2
    assert here() is None


async def test_a_conversation_that_made_room_for_others_is_looked_for_again(world: World) -> None:
    world.runs = world.process(cached=3)
    run = await world.run()
    assert world.runs.here(PAYER, asking(), world.clock.now_ms()) == run
    for number in range(4):
        await world.run(explicit=f"job-{number}")
    assert world.runs.here(PAYER, asking(), world.clock.now_ms()) is None
    assert await world.run() == run


async def test_of_conversations_that_go_on_only_so_many_are_found_without_waiting(world: World) -> None:
    for number in range(_STANDING + 1):
        await world.run(where=caller(f"s{number}"))
    assert len(world.runs._standing) == 1


async def test_memory_is_bounded_and_forgetting_loses_nothing(world: World) -> None:
    world.runs = world.process(cached=10)
    first = await world.run(explicit="job-0")
    for number in range(1, 50):
        await world.run(explicit=f"job-{number}")
        await world.runs.start(PAYER, caller(f"s{number}"))
    for memory in (world.runs._slots, world.runs._steps, world.runs._places.held, world.runs._attempts._held):
        assert len(memory) == 10
    assert (await world.run(explicit="job-0")).id == first.id
    assert CACHED == 10_000


async def test_a_runs_calls_are_counted_and_the_count_survives_a_restart(world: World) -> None:
    run = await world.run()
    assert world.runs.steps(run.id) == 0
    world.runs.count(run.id)
    world.runs.count(run.id)
    await world.run()
    assert world.runs.steps(run.id) == 2
    other = await world.runs.start(PAYER, caller())
    assert world.runs.steps(other.id) == 0
    world.runs.count("run_unknown")
    assert world.runs.steps("run_unknown") == 0
    world.runs = world.process()
    await world.run(explicit=run.id)
    assert world.runs.steps(run.id) == await world.store.count_steps(run.id)


async def test_calls_counted_while_another_looks_the_count_up_are_not_lost(world: World) -> None:
    run = await world.run(explicit="job-42")
    world.runs = world.process()

    async def call() -> None:
        await world.run(explicit="job-42")
        world.runs.count(run.id)

    slow = asyncio.create_task(call())
    quick = [asyncio.create_task(call()) for _ in range(3)]
    await asyncio.gather(slow, *quick)
    assert world.runs.steps(run.id) == 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from(OWNERS),
            st.sampled_from([None, "s", "t"]),
            st.sampled_from([None, "s", "t"]),
            st.sampled_from([None, "s", "job", '["session","s"]', "x" * 250]),
            st.sampled_from([None, ("s", "t"), ("st", ""), ("name", "job"), ("w", "x" * 500)]),
        ),
        max_size=30,
    )
)
async def test_whatever_is_named_a_run_has_one_owner(
    calls: Sequence[tuple[Identity, str, str, str, tuple[str, str]]],
) -> None:
    world = World()
    owners: dict[str, str] = {}
    for identity, session, trace, explicit, key in calls:
        run = await world.run(identity, caller(session, trace), explicit, key)
        assert run.owner == owner_of(identity)
        assert owners.setdefault(run.id, run.owner) == run.owner
