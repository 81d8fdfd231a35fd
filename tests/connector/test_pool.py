"""Many servers side by side: a dead one is repaired in the background and costs the others nothing."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.connector import Begun, Confined, ConnectorFault, Surroundings, ToolCall
from gateway.connector.pool import PoolPace, State, Upstreams
from tests.fixtures.clock import CountingIds, FakeClock
from tests.fixtures.scripted import OK, ScriptedUpstream

CALL = ToolCall("a", {}, "call_1", 5.0)
FAST = PoolPace(open_s=0.05, attempt_s=0.05, list_s=0.05, close_s=0.05, repair_base_s=1.0, repair_cap_s=8.0)


class Repairs(FakeClock):
    """A clock on which every repair waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Semaphore(0)
        self.waiting = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.waiting.set()
        await self.go_on.acquire()
        self.waiting.clear()
        await super().sleep(seconds)

    async def repair(self) -> None:
        """Let one repair happen and return when the next one waits, or none is needed."""
        await self.waiting.wait()
        self.waiting.clear()
        self.go_on.release()


async def until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)


def pool(clock: FakeClock | None = None, **members: ScriptedUpstream) -> Upstreams:
    made = Upstreams(Surroundings(clock=clock or FakeClock(), ids=CountingIds(0.0)), FAST)
    for name, member in members.items():
        made.add(name, member)
    return made


async def test_all_are_opened_listed_and_closed() -> None:
    a, b = ScriptedUpstream(), ScriptedUpstream()
    upstreams = pool(a=a, b=b)
    assert upstreams.health()["a"].state is State.OPENING
    await upstreams.open()
    assert upstreams.names() == ["a", "b"]
    assert await upstreams.tools() == {"a": [{"name": "a"}], "b": [{"name": "a"}]}
    assert await upstreams.get("a").call(CALL) == OK
    assert upstreams.get("a").traits("a") is None
    assert {health.state for health in upstreams.health().values()} == {State.UP}
    await upstreams.close()
    assert (a.life, b.life) == (["open", "tools", "call", "close"], ["open", "tools", "close"])


async def test_a_server_that_cannot_be_opened_is_down_and_delays_no_other() -> None:
    clock = Repairs()
    dead = ScriptedUpstream()
    dead.opens = [ConnectorFault("No licence.")] * 3
    upstreams = pool(clock, dead=dead, alive=ScriptedUpstream())
    await upstreams.open()
    listed = await upstreams.tools()
    assert listed["alive"] == [{"name": "a"}]
    assert isinstance(listed["dead"], ConnectorFault)
    with pytest.raises(ConnectorFault, match="No licence") as caught:
        await upstreams.get("dead").call(CALL)
    assert (caught.value.sent, caught.value.retry_after_s) == (False, 1.0)
    health = upstreams.health()["dead"]
    assert (health.state, health.error, health.since_ms) == (State.DOWN, "No licence.", clock.now_ms())
    await upstreams.close()


async def test_a_dead_server_is_opened_again_until_it_is_up_and_its_tools_are_news() -> None:
    clock = Repairs()
    dead = ScriptedUpstream()
    dead.opens = [ConnectorFault("gone"), ConnectorFault("still gone")]
    upstreams = pool(clock, dead=dead)
    news: list[int] = []
    upstreams.get("dead").on_notice(lambda *_: news.append(1))
    await upstreams.open()
    await clock.repair()
    await until(lambda: upstreams.health()["dead"].error == "still gone")
    assert upstreams.health()["dead"].since_ms == clock.now_ms() - 1000
    await clock.repair()
    await until(lambda: upstreams.health()["dead"].state is State.UP)
    assert news == [1]
    assert await upstreams.get("dead").call(CALL) == OK
    await upstreams.close()


async def test_a_call_that_wants_a_dead_server_ends_its_back_off() -> None:
    clock = FakeClock()
    dead = ScriptedUpstream()
    dead.opens = [ConnectorFault("gone")] * 2
    upstreams = Upstreams(
        Surroundings(clock=clock, ids=CountingIds(0.999)), PoolPace(repair_base_s=1000.0, repair_cap_s=1000.0)
    )
    upstreams.add("dead", dead)
    await upstreams.open()
    for tries in (2, 3):
        with pytest.raises(ConnectorFault):
            await upstreams.get("dead").call(CALL)
        await until(lambda tries=tries: dead.life.count("open") == tries)
    await until(lambda: upstreams.health()["dead"].state is State.UP)
    await upstreams.close()


async def test_a_fault_of_one_clients_connection_says_nothing_about_the_server() -> None:
    upstreams = pool(a=ScriptedUpstream(Confined("No connection for this client.", sent=False)))
    await upstreams.open()
    with pytest.raises(Confined):
        await upstreams.get("a").call(CALL)
    assert upstreams.health()["a"].state is State.UP
    await upstreams.close()


class Lost(Begun):
    """A call that is on its way to a server that is lost."""

    async def whole(self) -> Mapping[str, Any]:
        raise ConnectorFault("refused", sent=False)


class Losing(ScriptedUpstream):
    """Sends calls, or refuses to, before anybody waits."""

    def call(self, call: ToolCall) -> Any:
        if call.tool == "a":
            return Lost()
        raise ConnectorFault("refused", sent=False)


@pytest.mark.parametrize("tool", ["a", "b"])
async def test_a_server_lost_before_a_call_was_waited_for_is_down_as_well(tool: str) -> None:
    upstreams = pool(lost=Losing())
    await upstreams.open()
    work = upstreams.get("lost").call(replace(CALL, tool=tool))
    assert upstreams.health()["lost"].state is State.UP
    with pytest.raises(ConnectorFault):
        await work
    assert upstreams.health()["lost"].state is State.DOWN
    await upstreams.close()


async def test_a_server_lost_in_a_call_is_probed_until_it_is_back() -> None:
    clock = Repairs()
    lost = ScriptedUpstream(ConnectorFault("refused", sent=False))
    lost.lists = [ConnectorFault("refused", sent=False)]
    upstreams = pool(clock, lost=lost)
    news: list[int] = []
    upstreams.get("lost").on_notice(lambda *_: news.append(1))
    await upstreams.open()
    with pytest.raises(ConnectorFault):
        await upstreams.get("lost").call(CALL)
    assert upstreams.health()["lost"].state is State.DOWN
    await clock.repair()
    await clock.repair()
    await until(lambda: upstreams.health()["lost"].state is State.UP)
    assert news == [1]
    assert lost.life == ["open", "call", "tools", "tools"]
    await upstreams.close()


@pytest.mark.parametrize(
    "fault", [ConnectorFault("no", code="rejected"), ConnectorFault("hm", code="timeout"), ConnectorFault("reset")]
)
async def test_a_fault_after_a_request_was_sent_does_not_mean_that_the_server_is_down(fault: ConnectorFault) -> None:
    upstreams = pool(a=ScriptedUpstream(fault))
    await upstreams.open()
    with pytest.raises(ConnectorFault) as caught:
        await upstreams.get("a").call(CALL)
    assert caught.value is fault
    assert upstreams.health()["a"].state is State.UP
    await upstreams.close()


async def test_a_server_that_is_slow_to_open_is_waited_for_only_so_long() -> None:
    opens = asyncio.Event()
    slow = ScriptedUpstream()
    slow.opens = [opens]
    upstreams = Upstreams(Surroundings(), PoolPace(open_s=0.01, list_s=0.01))
    upstreams.add("slow", slow)
    await upstreams.open()
    assert upstreams.health()["slow"].state is State.OPENING
    with pytest.raises(ConnectorFault, match="slow is still starting") as caught:
        await upstreams.get("slow").tools()
    assert not caught.value.sent
    call = asyncio.ensure_future(upstreams.get("slow").call(CALL))
    await asyncio.sleep(0)
    opens.set()
    assert await call == OK
    await upstreams.close()


async def test_an_opening_that_hangs_and_one_that_breaks_are_tried_again() -> None:
    clock = Repairs()
    odd = ScriptedUpstream()
    odd.opens = [asyncio.Event(), KeyError("bug")]
    upstreams = pool(clock, odd=odd)
    await upstreams.open()
    await until(lambda: upstreams.health()["odd"].state is State.DOWN)
    await clock.repair()
    await until(lambda: "bug" in upstreams.health()["odd"].error)
    await clock.repair()
    await until(lambda: upstreams.health()["odd"].state is State.UP)
    await upstreams.close()


async def test_a_listing_that_hangs_ends_in_time() -> None:
    hanging = ScriptedUpstream()
    hanging.lists = [asyncio.Event()]
    upstreams = pool(hanging=hanging, other=ScriptedUpstream())
    await upstreams.open()
    listed = await upstreams.tools()
    assert listed["other"] == [{"name": "a"}]
    fault = listed["hanging"]
    assert isinstance(fault, ConnectorFault)
    assert fault.code == "timeout"
    await upstreams.close()


async def test_a_server_that_refuses_to_list_is_still_up() -> None:
    refusing = ScriptedUpstream()
    refusing.lists = [ConnectorFault("no tools", code="rejected")]
    upstreams = pool(refusing=refusing)
    await upstreams.open()
    with pytest.raises(ConnectorFault, match="no tools"):
        await upstreams.get("refusing").tools()
    assert upstreams.health()["refusing"].state is State.UP
    await upstreams.close()


async def test_a_close_that_hangs_is_left_behind() -> None:
    hanging = ScriptedUpstream()
    hanging.closes = [asyncio.Event()]
    upstreams = pool(hanging=hanging)
    await upstreams.open()
    await upstreams.close()
    assert hanging.life == ["open", "close"]


async def test_listeners_hear_what_the_server_says_of_its_tools() -> None:
    a = ScriptedUpstream()
    upstreams = pool(a=a)
    news: list[int] = []
    upstreams.get("a").on_notice(lambda *_: news.append(1))
    a.change()
    assert news == [1]


async def test_names_are_taken_once_and_free_again_after_removal() -> None:
    a = ScriptedUpstream()
    upstreams = pool(a=a)
    with pytest.raises(ValueError, match="'a'"):
        upstreams.add("a", ScriptedUpstream())
    await upstreams.remove("a")
    await upstreams.remove("a")
    with pytest.raises(ConnectorFault, match="'a'") as caught:
        upstreams.get("a")
    assert not caught.value.sent
    assert a.life == ["close"]


async def test_opening_twice_watches_once() -> None:
    a = ScriptedUpstream()
    upstreams = pool(a=a)
    await upstreams.open()
    await upstreams.open()
    await upstreams.close()
    assert a.life == ["open", "close"]


async def opened(**members: ScriptedUpstream) -> Upstreams:
    upstreams = pool(**members)
    await upstreams.open()
    return upstreams


@pytest.mark.parametrize("asked", [None, CALL])
async def test_a_probe_that_is_not_answered_or_answered_wrongly_finds_a_server_down(asked: ToolCall | None) -> None:
    server = ScriptedUpstream()
    upstreams = await opened(a=server)
    changes: list[State] = []
    upstreams.on_change(lambda: changes.append(upstreams.health()["a"].state))
    answers = server.lists if asked is None else server.calls
    wrong = [ConnectorFault("gone"), asyncio.Event(), RuntimeError("odd")]
    for each in wrong if asked is None else [*wrong, {"isError": True, "content": []}]:
        answers[:] = [each]
        await upstreams.get("a").probe(asked, 0.01)
        assert upstreams.health()["a"].state is State.DOWN
        probed = upstreams.get("a").probed
        assert probed is not None
        assert probed.error
        answers.clear()
        await upstreams.get("a").probe(asked, 0.01)
        assert upstreams.health()["a"].state is State.UP
    assert changes[:2] == [State.DOWN, State.UP]
    await upstreams.close()


async def test_agents_still_call_a_server_that_only_fails_its_probe_and_only_a_probe_finds_it_up_again() -> None:
    server = ScriptedUpstream(ConnectorFault("not well", code="rejected"))
    upstreams = await opened(a=server)
    await upstreams.get("a").probe(CALL, 1.0)
    assert await upstreams.get("a").call(CALL) == OK
    assert await upstreams.get("a").tools() == [{"name": "a"}]
    assert upstreams.health()["a"].error == "not well"
    await upstreams.get("a").probe(CALL, 1.0)
    assert upstreams.health()["a"].state is State.UP
    await upstreams.close()


async def test_a_server_that_was_never_reached_is_repaired_rather_than_probed() -> None:
    clock, server = Repairs(), ScriptedUpstream()
    server.opens.append(ConnectorFault("nobody there", sent=False))
    upstreams = pool(clock, a=server)
    await upstreams.get("a").probe(None, 1.0)
    assert server.life == []
    await upstreams.open()
    await upstreams.get("a").probe(None, 1.0)
    assert server.life == ["open"]
    await clock.repair()
    await until(lambda: upstreams.health()["a"].state is State.UP)
    await upstreams.close()
