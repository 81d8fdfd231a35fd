"""Answers without a schema that are not like those before them: labelled, on record, and perhaps stopped."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.catalog.shapes import ENOUGH
from gateway.connector import ConnectorFault
from gateway.model.answers import Label
from gateway.model.errors import StoreFault
from gateway.model.outcome import Failed, Succeeded
from gateway.pipeline.runner import Ended
from gateway.pipeline.shaping import about_shape, known_shape
from gateway.resilience.config import ResilienceConfig
from gateway.store.memory import MemoryStore
from gateway.store.ports import Event, EventFilter, EventKind, Record
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PERMIT_ALL, Gate, answer, rules_of

LIKE = {"orders": [{"id": 1}], "total": 1}
OTHER = {"orders": [{"id": "1"}]}
DIFFERENCES = ["/orders/*/id is string, was number", "/total is missing"]
WATCHED = {"payments.list": ToolRule.model_validate({"shape": "watch"})}


def gate(shape: str = "watch", tool: str = "payments.list", **more: Any) -> Gate:
    return Gate(tools={tool: ToolRule.model_validate({"shape": shape})}, **more)


async def asks(home: Gate, value: Any = None, *, times: int = 1, tool: str = "payments_list", **more: Any) -> Ended:
    server = home.servers[tool.partition("_")[0]]
    for _ in range(times):
        server.calls.append(value if isinstance(value, Mapping) and "content" in value else answer(value))
        ended = await home.run(tool, more.get("arguments", {}))
    return ended


def labels(ended: Ended) -> tuple[Label, ...]:
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    return ended.call.labels


@asynccontextmanager
async def watching(home: Gate) -> AsyncIterator[None]:
    task = asyncio.ensure_future(home.shaping.watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def told(home: Gate, number: int, tool: str = "payments.list") -> list[tuple[EventKind, dict[str, Any]]]:
    """Wait until so many events about the shape are on record, and return them."""
    async with asyncio.timeout(30):
        while True:
            found = [event async for event in home.store.events(EventFilter(call_id=about_shape(tool)))]
            if len(found) >= number:
                return [(event.kind, json.loads(event.body)) for event in found]
            await asyncio.sleep(0.01)


async def test_an_answer_that_is_not_like_those_before_it_is_given_labelled_and_is_on_record_once() -> None:
    home = gate()
    async with watching(home):
        assert labels(await asks(home, LIKE, times=ENOUGH)) == ()
        assert labels(await asks(home, {**LIKE, "more": True})) == ()
        drifted = await asks(home, OTHER)
        assert labels(drifted) == (Label.DRIFTED,)
        assert labels(await asks(home, OTHER)) == (Label.DRIFTED,)
        [(learnt, _), (kind, body)] = await told(home, 2)
        assert (learnt, kind) == (EventKind.SHAPE_LEARNT, EventKind.SHAPE_DRIFTED)
        assert (body["call"], body["differences"]) == (drifted.call.id, DIFFERENCES)
        assert labels(await asks(home, {"orders": None, "total": 1})) == (Label.DRIFTED,)
        assert len(await told(home, 3)) == 3
        assert labels(await asks(home, LIKE)) == ()
    await home.store.verify()


async def test_a_tool_can_be_stopped_by_it_until_an_operator_lets_it_go_on() -> None:
    home = gate("pause")
    async with watching(home):
        await asks(home, LIKE, times=ENOUGH)
        assert labels(await asks(home, OTHER)) == (Label.DRIFTED,)
        async with asyncio.timeout(30):
            while not (found := await home.store.pauses()):
                await asyncio.sleep(0.01)
    [pause] = found
    assert (pause.scope, pause.by) == ("tool:payments.list", "gateway")
    assert DIFFERENCES[0] in pause.reason
    await home.pauses.refresh()
    refused = (await home.run("payments_list", {})).outcome
    assert isinstance(refused, Failed)
    assert refused.error.code == "paused"


async def test_what_was_learnt_and_told_outlives_the_gateway() -> None:
    home = gate()
    async with watching(home):
        await asks(home, LIKE, times=ENOUGH)
        await asks(home, OTHER)
        await told(home, 2)
    again = gate(store=home.store, clock=home.clock, ids=home.ids)
    async with watching(again):
        assert labels(await asks(again, OTHER)) == (Label.DRIFTED,)
        await asks(again, {"orders": 7})
        assert len(await told(again, 3)) == 3  # the first is on record already


async def test_answers_that_somebody_accepts_are_learnt_anew_and_so_are_those_of_another_version() -> None:
    home = gate()
    async with watching(home):
        await asks(home, LIKE, times=ENOUGH)
        await asks(home, OTHER)
        await told(home, 2)
        accepted = Record(about_shape("payments.list"), 0, "", "", "", "payments.list", {"what": "x"}, EventKind.ADMIN)
        await home.store.record(accepted)
        async with asyncio.timeout(30):
            while labels(await asks(home, OTHER)):
                await asyncio.sleep(0.05)
        await asks(home, OTHER, times=ENOUGH)
        assert labels(await asks(home, LIKE)) == (Label.DRIFTED,)
    definitions = {"payments": [{"name": "list", "description": "new", "inputSchema": {"type": "object"}}]}
    home.rules.current = rules_of(PERMIT_ALL, tools=WATCHED, definitions=definitions)
    assert labels(await asks(home, LIKE)) == ()
    tool = home.rules.current.catalog.resolve("payments.list")
    assert await known_shape(home.store, tool) == (None, [])


@pytest.mark.parametrize("left_out", [answer(OTHER, isError=True), {"resultType": "complete", **answer(LIKE)}])
async def test_errors_are_not_learnt_from_and_not_judged(left_out: Mapping[str, Any]) -> None:
    home = gate()
    async with watching(home):
        await asks(home, LIKE, times=ENOUGH)
        assert labels(await asks(home, left_out)) == ()


async def test_a_tool_with_a_schema_and_one_that_nobody_asked_about_are_not_watched() -> None:
    checked = gate(tool="fraud.check")
    passed, arguments = {"result": "passed"}, {"payment_id": "p", "payee": "x"}
    await asks(checked, passed, times=ENOUGH, tool="fraud_check", arguments=arguments)
    assert labels(await asks(checked, {**passed, "score": 3}, tool="fraud_check", arguments=arguments)) == ()
    plain = gate("off")
    await asks(plain, LIKE, times=ENOUGH)
    assert labels(await asks(plain, OTHER)) == ()
    for home, tool in ((checked, "fraud.check"), (plain, "payments.list")):
        assert await known_shape(home.store, home.rules.current.catalog.resolve(tool)) == (None, [])


class SlowStore(MemoryStore):
    """A store that others get ahead of."""

    async def events(self, wanted: EventFilter) -> AsyncIterator[Event]:
        await asyncio.sleep(0)
        async for event in super().events(wanted):
            yield event


async def test_the_gateways_own_tools_are_not_watched() -> None:
    home = gate(tool="*")
    async with watching(home):
        for _ in range(ENOUGH):
            assert isinstance((await home.run("run_brief", {})).outcome, Succeeded)
        await asks(home, LIKE, times=ENOUGH)
        await told(home, 1)
    assert await known_shape(home.store, home.rules.current.catalog.resolve("run.brief")) == (None, [])


async def test_the_first_answers_may_come_at_once() -> None:
    clock = FakeClock()
    home = gate(store=SlowStore(clock), clock=clock)
    home.servers["payments"].calls += [answer(LIKE)] * ENOUGH
    async with watching(home):
        await asyncio.gather(*(home.run("payments_list", {"limit": n}) for n in range(ENOUGH)))
        await told(home, 1)
        assert labels(await asks(home, OTHER)) == (Label.DRIFTED,)


class FullStore(MemoryStore):
    """A store that cannot be read, or written, so many times."""

    unread = 0
    unwritten = 0

    def events(self, wanted: EventFilter) -> Any:
        if self.unread and wanted.call_id.startswith("shape."):
            self.unread -= 1
            raise StoreFault("locked")
        return super().events(wanted)

    async def record(self, record: Record, *, durable: bool = True) -> None:
        if self.unwritten and record.kind is EventKind.SHAPE_LEARNT:
            self.unwritten -= 1
            raise StoreFault("full")
        await super().record(record, durable=durable)


async def test_a_store_that_cannot_be_read_or_written_ends_no_call_and_is_tried_again() -> None:
    clock = FakeClock()
    store = FullStore(clock)
    store.unread, store.unwritten = 2, 1
    home = gate(store=store, clock=clock)
    async with watching(home):
        assert labels(await asks(home, LIKE, times=ENOUGH)) == ()
        assert labels(await asks(home, LIKE, times=2)) == ()
        assert labels(await asks(home, OTHER)) == (Label.DRIFTED,)
        assert [kind for kind, _ in await told(home, 2)] == [EventKind.SHAPE_LEARNT, EventKind.SHAPE_DRIFTED]


async def test_an_answer_of_something_else_is_not_held_against_the_tools_own() -> None:
    other = {"tool": "fraud.check", "arguments": {"constant": {"payment_id": "p", "payee": "x"}}}
    rule = ToolRule.model_validate({"shape": "watch", "fallback": [other]})
    home = Gate(tools={"payments.list": rule}, settings=ResilienceConfig(max_attempts=1))
    async with watching(home):
        await asks(home, LIKE, times=ENOUGH)
        home.servers["payments"].calls.append(ConnectorFault("gone", sent=False))
        home.servers["fraud"].calls.append(answer({"result": "passed"}))
        assert labels(await home.run("payments_list", {})) == (Label.FALLBACK,)
