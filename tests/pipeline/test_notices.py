"""Who is told of news, and until when; the streams themselves are tested in tests/transport/test_news.py."""

import asyncio
from typing import Any

import pytest

from gateway.model.errors import ConnectorFault, LimitFault
from gateway.pipeline import notices as module
from gateway.pipeline.directory import Place
from gateway.pipeline.notices import Subscriber
from tests.identity.doubles import agents
from tests.pipeline.gate import Gate, caller


async def subscriber(gate: Gate, agent: str = "payer", *lists: str) -> Subscriber:
    who = caller(agent)
    identity = await gate.listing.identify(who, "")
    return Subscriber(who, identity, "", frozenset(lists), lambda method, params: None)


async def test_those_who_are_known_no_more_are_found_among_many() -> None:
    gate = Gate()
    everybody = [await subscriber(gate, ("payer", "other")[number % 2]) for number in range(250)]
    for each in everybody:
        gate.notices.join(each)
    await gate.notices.recheck()
    assert not any(each.over.done() for each in everybody)
    gate.authenticator.replace(agents(other={"auth": {"local": True}}))
    await gate.notices.recheck()
    assert [each.over.done() for each in everybody] == [number % 2 == 0 for number in range(250)]


async def test_many_are_told_without_holding_up_everything_else() -> None:
    gate = Gate('@id("all") permit (principal, action, resource);')
    told: list[str] = []
    for _ in range(250):
        each = await subscriber(gate, "payer", "prompts")
        each.tell = lambda method, params: told.append(method)
        gate.notices.join(each)
    gate.notices.listen(gate.elicited, gate.tasks)
    running = asyncio.ensure_future(gate.notices.run())
    gate.servers["mail"].tell(module.LIST_CHANGED["prompts"], {})
    async with asyncio.timeout(10):
        while len(told) < 250:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(told) == 250


async def test_after_the_stop_nobody_joins() -> None:
    gate = Gate()
    one = await subscriber(gate)
    gate.notices.join(one)
    gate.notices.stop()
    assert one.over.done()
    with pytest.raises(LimitFault):
        gate.notices.join(await subscriber(gate))


async def test_a_server_is_asked_to_watch_only_when_something_changed_and_again_when_it_refused() -> None:
    gate = Gate()
    mail = gate.servers["mail"]
    one, two = await subscriber(gate), await subscriber(gate)
    for each in (one, two):
        gate.notices.join(each)
    await gate.notices.add(one, {"x": Place("mail", "x")})
    await gate.notices.add(two, {"x": Place("mail", "x")})
    assert (mail.watched, mail.life.count("watch")) == ({"x"}, 1)
    mail.watches.append(ConnectorFault("not now"))
    await gate.notices.add(one, {"y": Place("mail", "y")})
    await gate.notices.add(two, {"y": Place("mail", "y")})
    assert (mail.watched, mail.life.count("watch")) == ({"x", "y"}, 3)
    await gate.notices.leave(one)
    await gate.notices.leave(one)
    assert mail.life.count("watch") == 3
    await gate.notices.drop(two, "x")
    await gate.notices.drop(two, "unheard of")
    assert mail.watched == {"y"}


async def test_changes_that_come_at_once_end_with_what_is_wanted_last() -> None:
    gate = Gate()
    mail, may_go_on = gate.servers["mail"], asyncio.Event()
    one = await subscriber(gate)
    gate.notices.join(one)
    mail.watches.append(may_go_on)
    slow: Any = asyncio.ensure_future(gate.notices.add(one, {"x": Place("mail", "x")}))
    await asyncio.sleep(0)
    fast: Any = asyncio.ensure_future(gate.notices.drop(one, "x"))
    await asyncio.sleep(0)
    may_go_on.set()
    await asyncio.gather(slow, fast)
    assert mail.watched == frozenset()


async def test_one_agent_cannot_take_every_stream_there_is() -> None:
    gate = Gate()
    mine = [await subscriber(gate) for _ in range(5_000)]
    for each in mine:
        gate.notices.join(each)
    with pytest.raises(LimitFault, match="at most 5000"):
        gate.notices.join(await subscriber(gate))
    gate.notices.join(await subscriber(gate, "other"))
    gate.notices.join(await subscriber(gate), instead_of=mine[0])
    await gate.notices.leave(mine[1])
    gate.notices.join(await subscriber(gate))
