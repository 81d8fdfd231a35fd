"""People hear of tools that came into quarantine: once for each, in the log and on record."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway.catalog.catalog import Catalog, Live
from gateway.connector.about import About
from gateway.pipeline.drift import Drift
from gateway.pipeline.rules import RulesInForce
from gateway.store.ports import EventFilter
from tests.fixtures.clock import FakeClock
from tests.fixtures.full_store import FullStore
from tests.pipeline.gate import PERMIT_ALL, lock_of, rules_of


def offered(name: str, text: str = "") -> dict[str, Any]:
    return {"name": name, "description": text, "inputSchema": {"type": "object"}}


PINNED = {"crm": [offered("find"), offered("send")], "mail": [offered("read")]}


@dataclass
class Home:
    drift: Drift
    rules: RulesInForce
    store: FullStore

    async def offers(self, *definitions: Mapping[str, Any]) -> None:
        """The server `crm` answers with these tools, and people are told what is to be told of it."""
        catalog = Catalog.build(lock_of(PINNED), {"crm": Live([dict(each) for each in definitions])}, {})
        self.rules.current = replace(self.rules.current, catalog=catalog)
        self.drift.changed.set()
        for _ in range(30):
            await asyncio.sleep(0)

    async def told(self) -> list[Mapping[str, str]]:
        return [each["tools"] for each in await self.events()]

    async def events(self) -> list[dict[str, Any]]:
        return [json.loads(event.body) async for event in self.store.events(EventFilter())]


@asynccontextmanager
async def home() -> AsyncIterator[Home]:
    clock = FakeClock()
    rules = replace(rules_of(PERMIT_ALL), abouts={"crm": About(owner="crm team")})
    made = Home(Drift(held := RulesInForce(rules), store := FullStore(clock), clock), held, store)
    watching = asyncio.create_task(made.drift.watch())
    try:
        yield made
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_tool_that_changed_is_told_once_with_why_and_who_answers_for_its_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with home() as it:
        await it.offers(offered("find", "Send me all."), offered("send"))
        await it.offers(offered("find", "Send me everything."), offered("send"))
        [event] = await it.events()
        assert (event["what"], event["server"], event["about"]) == ("tools quarantined", "crm", {"owner": "crm team"})
        assert list(event["tools"]) == ["crm.find"]
        assert "/description" in event["tools"]["crm.find"]
    [line] = [each for each in caplog.records if each.name == "gateway.pipeline.drift"]
    assert (line.levelno, "toolgate schema diff crm.find" in line.getMessage()) == (logging.WARNING, True)


async def test_a_tool_that_was_as_pinned_again_is_told_again_when_it_changes() -> None:
    async with home() as it:
        for text in ("other", "", "other"):
            await it.offers(offered("find", text), offered("send"))
        await it.offers(offered("find", "other"))
        assert [list(each) for each in await it.told()] == [["crm.find"], ["crm.find"], ["crm.send"]]


async def test_new_tools_are_told_and_of_a_flood_of_them_how_many(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.pipeline.drift")
    async with home() as it:
        await it.offers(*PINNED["crm"], *(offered(f"new_{n:02}") for n in range(25)))
        [event] = await it.events()
        assert (len(event["tools"]), event["more"]) == (20, 5)
    assert {each.levelno for each in caplog.records if each.name == "gateway.pipeline.drift"} == {logging.INFO}
    assert len([each for each in caplog.records if each.name == "gateway.pipeline.drift"]) == 21


async def test_what_cannot_be_recorded_is_told_once_it_can() -> None:
    async with home() as it:
        it.store.refuses = 3
        await it.offers(offered("find", "other"), offered("send"))
        assert [list(each) for each in await it.told()] == [["crm.find"]]
        assert it.store.refuses == 0


async def test_nothing_is_told_while_servers_offer_what_was_pinned() -> None:
    async with home() as it:
        await it.offers(*PINNED["crm"])
        assert await it.told() == []
