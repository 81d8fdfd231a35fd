"""Servers are looked after while nobody calls them, and what becomes of them is on record."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.catalog.validation import checker
from gateway.connector import ConnectorFault, Surroundings
from gateway.connector.about import About
from gateway.connector.pool import Upstreams
from gateway.model.tool import Effect, Tool
from gateway.resilience.config import ProbeRule, Probes
from gateway.resilience.probing import Probing, Watched, probe_problems
from gateway.store.ports import EventFilter
from tests.fixtures.clock import CountingIds, FakeClock
from tests.fixtures.full_store import FullStore
from tests.fixtures.scripted import ScriptedUpstream
from tests.policy.acme import STRING, record, tool

STATUS = tool("crm.status", record(text=STRING))
DOWN = ConnectorFault("connection refused", sent=False)


class Steps(FakeClock):
    """A clock whose sleeps end one after the other, in the order of their time, each when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        wake = asyncio.Event()
        self._due.append((self.passed + seconds, wake))
        await wake.wait()

    async def pass_(self, seconds: float) -> None:
        end = self.passed + seconds
        while True:
            await settled()
            due = min(self._due, key=lambda each: each[0], default=(end + 1, asyncio.Event()))
            if due[0] > end:
                self.passed = end
                return
            self._due.remove(due)
            self.passed = due[0]
            due[1].set()


async def settled() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


@dataclass
class Home:
    clock: Steps
    store: FullStore
    server: ScriptedUpstream
    upstreams: Upstreams
    probes: dict[str, ProbeRule]
    tools: dict[str, Tool] = field(default_factory=lambda: {STATUS.name: STATUS})

    async def told(self) -> list[dict[str, Any]]:
        return [json.loads(event.body) async for event in self.store.events(EventFilter())]


@asynccontextmanager
async def home(**probes: Mapping[str, Any]) -> AsyncIterator[Home]:
    clock = Steps()
    store = FullStore(clock)
    upstreams, server = Upstreams(Surroundings(clock, CountingIds(0.0))), ScriptedUpstream()
    upstreams.add("crm", server)
    declared = TypeAdapter(dict[str, ProbeRule]).validate_python(probes)
    made = Home(clock, store, server, upstreams, declared)
    abouts = {"crm": About(owner="crm team", runbook="https://crm.example.com/runbook")}
    watched = Watched(lambda: made.probes, lambda: made.tools.get, abouts.__getitem__)
    watching = asyncio.create_task(Probing(upstreams, watched, store, clock, CountingIds()).watch())
    await upstreams.open()
    try:
        yield made
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await upstreams.close()


async def test_a_server_that_is_killed_is_down_within_an_interval_and_it_is_on_record_without_any_call() -> None:
    async with home(crm={"every": "10s"}) as it:
        await it.clock.pass_(9)
        assert it.server.life == ["open"]
        it.server.lists += [DOWN, DOWN]
        await it.clock.pass_(2)
        assert [(one["what"], one["server"]) for one in await it.told()] == [("server down", "crm")]
        assert (await it.told())[0]["reason"] == "connection refused"
        assert (await it.told())[0]["about"] == {"owner": "crm team", "runbook": "https://crm.example.com/runbook"}
        await it.clock.pass_(20)
        assert [one["what"] for one in await it.told()] == ["server down", "server up"]


async def test_a_declared_read_is_called_with_its_arguments() -> None:
    async with home(crm={"every": "10s", "call": "crm.status", "arguments": {"text": "x"}, "timeout_s": 2}) as it:
        await it.clock.pass_(21)
        asked = it.server.asked
        assert [(one.tool, one.arguments, one.timeout_s) for one in asked] == [("status", {"text": "x"}, 2.0)] * 2
        assert await it.told() == []


@pytest.mark.parametrize(
    "odd",
    [None, tool("crm.status", record(), Effect.WRITE), tool("crm.status", record(text={"type": "integer"}))],
)
async def test_what_is_no_read_or_takes_other_arguments_is_not_called(odd: Tool | None) -> None:
    async with home(crm={"every": "10s", "call": "crm.status", "arguments": {"text": "x"}}) as it:
        it.tools = {} if odd is None else {"crm.status": pinned(odd)}
        await it.clock.pass_(30)
        assert it.server.asked == []


async def test_one_rule_for_all_holds_where_a_server_has_none_of_its_own_and_can_change_while_it_runs() -> None:
    async with home() as it:
        await it.clock.pass_(60)
        assert it.server.life == ["open"]
        it.probes["*"] = ProbeRule(every="1s")
        await it.clock.pass_(20)
        assert it.server.life.count("tools") > 5


async def test_what_cannot_be_recorded_is_recorded_later() -> None:
    async with home(crm={"every": "10s"}) as it:
        it.store.refuses = 2
        it.server.lists += [DOWN] * 20
        it.server.opens += [DOWN] * 20
        await it.clock.pass_(15)
        assert [one["what"] for one in await it.told()] == ["server down"]


async def test_a_server_that_comes_and_goes_is_not_recorded_each_time() -> None:
    async with home() as it:
        await it.clock.pass_(5)
        for n in range(50):
            it.server.lists[:] = [DOWN] if n % 2 == 0 else []
            await it.upstreams.get("crm").probe(None, 1.0)
            await settled()
        await it.clock.pass_(1)
        assert 1 <= len(await it.told()) <= 2


def pinned(of: Tool) -> Tool:
    return replace(of, breaks_input=checker(of.input_schema))


def test_a_probe_that_would_do_something_is_refused_at_load() -> None:
    probes = {"crm": ProbeRule(every="10s", call="crm.pay", arguments={"text": "x"})}
    pay = tool("crm.pay", record(), Effect.IRREVERSIBLE)
    [problem] = probe_problems(probes, {"crm.pay": pay}.get)
    assert "a probe must be a read" in problem.message
    [problem] = probe_problems(probes, {"crm.pay": pinned(tool("crm.pay", record(text={"type": "integer"})))}.get)
    assert "at /text" in problem.message
    assert list(probe_problems({**probes, "*": ProbeRule(every="1m")}, {}.get)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"crm": {"every": "often"}},
        {"crm": {}},
        {"crm": {"every": "1s", "call": "mail.status"}},
        {"*": {"every": "1s", "call": "crm.status"}},
        {"crm": {"every": "1s", "timeout_s": 0}},
    ],
)
def test_a_probe_has_an_interval_and_calls_its_own_server(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Probes).validate_python(wrong)
