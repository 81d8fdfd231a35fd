"""The inventory answers which agents are running, the unknown ones too."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.identity.inventory import FLUSH_S, OTHER_TOOLS, Inventory
from gateway.model.errors import StoreFault
from gateway.model.identity import ClientInfo, Identity
from gateway.store.memory import MemoryStore
from gateway.store.sightings import AgentSighting
from tests.identity.doubles import HandClock, settle

CLIENT = ClientInfo("claude-desktop", "1.2")


def agent(name: str) -> Identity:
    return Identity(name, "token", "tg_1")


class FullStore(MemoryStore):
    full = True

    async def saw_agents(self, sightings: Sequence[AgentSighting]) -> None:
        if self.full:
            raise StoreFault("no")
        await super().saw_agents(sightings)


async def test_three_agents_and_a_stranger_make_four_lines_and_the_stranger_is_flagged(
    store: MemoryStore, clock: HandClock
) -> None:
    inventory = Inventory(store, clock)
    for name in ("payer", "reader", "planner"):
        inventory.saw(agent(name), CLIENT, "payments.pay")
    inventory.saw(None, ClientInfo("mcp", "0.1.0"), "anything.goes", refused=True)
    await inventory.flush()
    seen = {line.agent: line for line in await store.agents_seen()}
    assert sorted(seen) == ["payer", "planner", "reader", "unknown"]
    assert [line.agent for line in seen.values() if not line.known] == ["unknown"]
    assert seen["unknown"].refused == 1
    assert seen["unknown"].tools == ()
    assert seen["payer"].tools == (("payments.pay", 1),)
    assert (seen["payer"].client_name, seen["payer"].client_version) == ("claude-desktop", "1.2")
    assert seen["payer"].last_seen_ms == clock.now_ms()


async def test_a_request_that_ends_late_does_not_take_back_when_another_came(store: MemoryStore) -> None:
    inventory = Inventory(store, HandClock())
    for came_ms in (4000, 5000, 3000):
        inventory.saw(agent("payer"), CLIENT, "a", at_ms=came_ms)
    await inventory.flush()
    [line] = await store.agents_seen()
    assert line.last_seen_ms == 5000


async def test_calls_refusals_and_tools_add_up_and_the_last_client_stays(store: MemoryStore, clock: HandClock) -> None:
    inventory = Inventory(store, clock)
    inventory.saw(agent("payer"), CLIENT)
    inventory.saw(agent("payer"), ClientInfo(), "a", refused=True)
    await inventory.flush()
    inventory.saw(agent("payer"), ClientInfo(), "a")
    inventory.saw(agent("payer"), ClientInfo("other", "2"), "b")
    await inventory.flush()
    await inventory.flush()
    [line] = await store.agents_seen()
    assert (line.calls, line.refused, dict(line.tools)) == (3, 1, {"a": 2, "b": 1})
    assert line.client_name == "other"


async def test_memory_is_bounded_and_hostile_names_are_cleaned(store: MemoryStore, clock: HandClock) -> None:
    inventory = Inventory(store, clock)
    for number in range(600):
        inventory.saw(agent("payer"), ClientInfo("x\r\n\x1b[31m" + "y" * 1000, "\u202e1"), f"tool{number}")
        inventory.saw(None, CLIENT, f"tool{number}")
    await inventory.flush()
    lines = {line.agent: line for line in await store.agents_seen()}
    assert len(lines["payer"].tools) == 501
    assert dict(lines["payer"].tools)[OTHER_TOOLS] == 100
    assert lines["unknown"].calls == 600
    assert lines["payer"].client_name.startswith("x[31myyy")
    assert len(lines["payer"].client_name) <= 100
    assert lines["payer"].client_version == "1"


async def test_what_could_not_be_written_is_kept_and_added(clock: HandClock) -> None:
    store = FullStore(clock)
    inventory = Inventory(store, clock)
    inventory.saw(agent("payer"), CLIENT, "a")
    inventory.saw(agent("reader"), CLIENT, "a", refused=True)
    with pytest.raises(StoreFault):
        await inventory.flush()
    clock.jump(1)
    inventory.saw(agent("payer"), ClientInfo(), "a", refused=True)
    inventory.saw(agent("payer"), ClientInfo(), "b")
    with pytest.raises(StoreFault):
        await inventory.flush()
    store.full = False
    await inventory.flush()
    seen = {line.agent: line for line in await store.agents_seen()}
    assert (seen["payer"].calls, seen["payer"].refused, dict(seen["payer"].tools)) == (3, 1, {"a": 2, "b": 1})
    assert seen["payer"].client_name == "claude-desktop"
    assert seen["payer"].last_seen_ms == clock.now_ms()
    assert seen["reader"].refused == 1


async def test_sightings_that_come_while_a_write_fails_are_merged_with_those_put_back(clock: HandClock) -> None:
    class SlowlyFull(FullStore):
        async def saw_agents(self, sightings: Sequence[AgentSighting]) -> None:
            inventory.saw(agent("payer"), ClientInfo(), "b")
            await super().saw_agents(sightings)

    store = SlowlyFull(clock)
    inventory = Inventory(store, clock)
    inventory.saw(agent("payer"), CLIENT, "a")
    with pytest.raises(StoreFault):
        await inventory.flush()
    store.full = False
    await inventory.flush()
    [line] = await store.agents_seen()
    assert (line.calls, dict(line.tools), line.client_name) == (2, {"a": 1, "b": 1}, "claude-desktop")


async def test_it_is_written_every_few_seconds_whatever_the_store_does(clock: HandClock) -> None:
    store = FullStore(clock)
    inventory = Inventory(store, clock)
    task = asyncio.create_task(inventory.watch())
    await settle()
    inventory.saw(agent("payer"), CLIENT, "a")
    await clock.advance(FLUSH_S)
    assert await store.agents_seen() == []
    store.full = False
    await clock.advance(FLUSH_S)
    assert len(await store.agents_seen()) == 1
    task.cancel()
    await asyncio.wait([task])
