"""A client says that its roots changed: servers that listed them may list them anew, and nobody else hears of it."""

from typing import Any

import pytest

from tests.pipeline.gate import PERMIT_ALL, Gate, answer, rules_of, settle
from tests.transport.asking import LIST
from tests.transport.front import Front
from tests.transport.peer import Peer, Reply

CHANGED = "notifications/roots/list_changed"
MAY_ROOTS = '@id("roots") permit (principal, action == Gateway::Action::"list_roots", resource);'
ROOTS = {"roots": [{"uri": "file:///new", "x": None}]}


async def lists(call: Any) -> Any:
    """A server that has its client list its roots, in a call or when it hears that they changed."""
    return answer({"told": await call.back.ask("roots/list", {})})


class House:
    """A gateway whose server of payments lists roots, and a client of it with a stream of its own."""

    def __init__(self) -> None:
        self.front = Front(Gate(PERMIT_ALL, MAY_ROOTS))
        self.payments = self.front.gate.servers["payments"]
        self.payments.calls += [lists] * 4

    async def client(self, version: str = "2025-11-25", **roots: Any) -> tuple[Peer, Reply]:
        peer = Peer(self.front)
        await peer.initialize(version, roots=roots or {"listChanged": True})
        return peer, await peer.get().started()

    async def called(self, peer: Peer) -> None:
        call = peer.legacy("tools/call", LIST)
        await peer.reply((await call.message("roots/list"))["id"], {"roots": []}).ended()
        await call.ended()

    async def told(self, times: int = 1) -> list[Any]:
        """The calls by which the server was told, once there are so many."""
        while len(found := [each for each in self.payments.asked if each.method == "roots/list"]) < times:
            await settle()
        return found


async def closed(*clients: tuple[Peer, Reply]) -> None:
    for peer, stream in clients:
        await peer.delete().ended()
        await stream.ended()


@pytest.mark.parametrize("version", ["2024-11-05", "2025-11-25"])
async def test_a_server_that_listed_the_roots_lists_them_anew_on_the_sessions_own_stream(version: str) -> None:
    house = House()
    one, other = await house.client(version), await house.client(version)
    await house.called(one[0])
    for _ in range(5):
        assert (await one[0].tell(CHANGED).ended()).status == 202
    question = await one[1].message("roots/list")
    await one[0].reply(question["id"], ROOTS).ended()
    [told] = await house.told()
    assert told.back.lane == one[0].session
    events: list[Any] = []
    while len(events) < 3:
        events = [event for event in await house.front.gate.events() if event.tool == "payments.roots/list"]
    assert "file:///new" in events[1].body
    await closed(one, other)
    assert [message["method"] for message in (*one[1].messages, *other[1].messages)] == ["roots/list"]


async def test_a_change_while_servers_are_told_of_one_is_told_after_it() -> None:
    house = House()
    client = await house.client()
    await house.called(client[0])
    await client[0].tell(CHANGED).ended()
    await house.told()
    question = await client[1].message("roots/list")
    await client[0].tell(CHANGED).ended()
    await client[0].reply(question["id"], ROOTS).ended()
    await house.told(2)
    house.front.of_sessions.stop()
    await closed(client)


@pytest.mark.parametrize("roots", [{"x": None}, {"listChanged": False}])
async def test_a_client_that_did_not_promise_to_tell_is_not_believed(roots: dict[str, Any]) -> None:
    house = House()
    client = await house.client(**roots)
    await house.called(client[0])
    await client[0].tell(CHANGED).ended()
    assert house.front.of_sessions._roots._telling == {}
    await closed(client)


async def test_a_server_that_never_listed_them_is_told_nothing() -> None:
    house = House()
    client = await house.client()
    await client[0].tell(CHANGED).ended()
    assert house.front.of_sessions._roots._telling == {}
    await closed(client)


async def test_a_server_that_no_policy_lets_list_them_any_more_is_told_nothing_and_that_is_on_record() -> None:
    house = House()
    client = await house.client()
    await house.called(client[0])
    house.front.gate.rules.current = rules_of(PERMIT_ALL)
    await client[0].tell(CHANGED).ended()
    denied: list[Any] = []
    while not denied:
        await settle()
        denied = [event for event in await house.front.gate.events() if '"denied"' in event.body]
    assert [event.tool for event in denied] == ["payments.roots/list"]
    assert [each.method for each in house.payments.asked] == ["tools/call"]
    await closed(client)


async def test_a_client_without_a_stream_of_its_own_cannot_be_asked_between_calls() -> None:
    house = House()
    peer = Peer(house.front)
    await peer.initialize(roots={"listChanged": True})
    await house.called(peer)
    await peer.tell(CHANGED).ended()
    await house.told()
    refused: list[Any] = []
    while not refused:
        await settle()
        refused = [event for event in await house.front.gate.events() if "cannot be asked" in event.body]
    assert refused[0].tool == "payments.roots/list"


async def test_nothing_is_promised_of_roots_in_the_era_that_cannot_tell() -> None:
    house = House()
    house.payments.calls[:] = []
    peer = Peer(house.front)
    peer.capabilities = {"roots": {"listChanged": True, "x": None}}
    await peer.modern("tools/call", LIST).ended()
    assert house.payments.asked[0].back.capabilities == {"roots": {"x": None}}


async def test_a_session_that_ended_meanwhile_is_told_of_nowhere() -> None:
    house = House()
    client = await house.client()
    await house.called(client[0])
    await client[0].tell(CHANGED).ended()
    [telling] = house.front.of_sessions._roots._telling.values()
    await closed(client)
    await telling
    assert [each.method for each in house.payments.asked] == ["tools/call"]
