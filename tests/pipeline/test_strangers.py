"""What strangers may have put on record is bounded, and of the rest one event tells how many there were."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.model.errors import StoreFault
from gateway.model.identity import Identity
from gateway.model.outcome import Failed
from gateway.model.request import Undoing
from gateway.pipeline.strangers import Strangers
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, Record
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import Gate, request


class Full(MemoryStore):
    """Cannot write while it is `full`."""

    full = True

    async def record(self, record: Record, *, durable: bool = True) -> None:
        if self.full:
            raise StoreFault("no", detail="disk full")
        await super().record(record, durable=durable)


async def told(store: MemoryStore) -> list[dict[str, Any]]:
    return [json.loads(event.body) async for event in store.events(EventFilter(limit=10_000)) if event.kind == "admin"]


async def test_of_a_flood_of_bad_tokens_some_are_on_record_and_the_rest_is_counted() -> None:
    gate = Gate()
    asked = request("payments_pay", agent="nobody")
    asked = replace(asked, caller=replace(asked.caller, address="203.0.113.9"))
    for _ in range(150):
        outcome = (await gate.runner.run(asked)).outcome
        assert isinstance(outcome, Failed)
        assert outcome.error.code == "unauthenticated"  # whether it is on record or not
    assert len(await gate.events()) == 100
    await gate.run("payments_list", {})  # who is known is not counted among them
    await gate.strangers.tell()
    await gate.strangers.tell()
    assert await told(gate.store) == [{"what": "refusals left out", "left_out": 50, "from": {"203.0.113.9": 50}}]
    await gate.clock.sleep(60)
    for _ in range(11):
        await gate.runner.run(asked)
    await gate.strangers.tell()
    assert [each["left_out"] for each in await told(gate.store)] == [50, 1]


async def test_one_address_leaves_room_for_others_and_all_together_are_bounded() -> None:
    clock = FakeClock()
    strangers = Strangers(MemoryStore(clock), clock)
    assert sum(strangers.may("2001:db8::1") for _ in range(150)) == 100
    assert not strangers.may("2001:db8::ffff:2")  # of the same network
    assert strangers.may("2001:db8:0:1::1")
    kept = sum(strangers.may(f"198.51.{n // 250}.{n % 250}") for n in range(2000))
    assert kept == 1000 - 101
    assert not strangers.may("192.0.2.1")
    await clock.sleep(3600)
    assert strangers.may("192.0.2.1")


async def test_a_credential_that_was_good_once_is_on_record_however_many_strangers_come_from_its_address() -> None:
    gate = Gate()
    places = [f"203.0.113.{n}" for n in range(11)]
    for place in places:
        for _ in range(100):
            gate.strangers.may(place)
    for agent, times in (("gone", 101), ("lost", 1)):
        asked = request("payments_pay", undoes=Undoing("c1", Identity(agent, "token", "tg_1")))
        asked = replace(asked, caller=replace(asked.caller, address=places[0]))
        for _ in range(times):
            outcome = (await gate.runner.run(asked)).outcome
            assert isinstance(outcome, Failed)
            assert outcome.error.code == "identity_revoked"
    assert len(await gate.events()) == 101
    await gate.strangers.tell()
    assert [each["from"] for each in await told(gate.store)] == [
        {places[10]: 100, "agent 'gone' is not configured any more": 1}
    ]


async def test_an_ipv4_address_is_the_same_and_none_but_itself_where_the_gateway_listens_on_ipv6() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    strangers = Strangers(store, clock)
    assert sum(strangers.may("::ffff:203.0.113.9") for _ in range(150)) == 100
    assert not strangers.may("203.0.113.9")
    assert strangers.may("::ffff:192.0.2.1")
    assert strangers.may("::1")
    await strangers.tell()
    assert [each["from"] for each in await told(store)] == [{"203.0.113.9": 51}]


async def test_what_was_left_out_is_told_by_address_as_far_as_that_is_of_use() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    strangers = Strangers(store, clock)
    for _ in range(1000):
        strangers.may("somewhere")
    for n in range(30):
        for _ in range(101):
            strangers.may(f"192.0.2.{n}")
    await strangers.tell()
    [one] = await told(store)
    assert (len(one["from"]), one["from"]["somewhere"]) == (21, 900)
    assert one["left_out"] == sum(one["from"].values())


async def test_what_cannot_be_told_is_told_later_and_at_the_end() -> None:
    clock = FakeClock()
    store = Full(clock)
    strangers = Strangers(store, clock)
    for _ in range(101):
        strangers.may("192.0.2.1")
    await strangers.tell()
    assert await told(store) == []
    store.full = False
    watching = asyncio.ensure_future(strangers.watch())
    while not await told(store):
        await asyncio.sleep(0)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert [each["left_out"] for each in await told(store)] == [1]
