"""What people ask of the ledger."""

import csv
import io
import json

import pytest

from gateway.ledger.recorder import Recorder
from gateway.ledger.trace import (
    Asked,
    CallLine,
    as_csv,
    as_json_line,
    call_events,
    call_lines,
    latest_lines,
    one_line,
    tail,
)
from gateway.model.errors import ConnectorFault
from gateway.model.outcome import Denied, Failed, Succeeded, Waiting
from gateway.redaction.redactor import Redactor
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, EventKind, Record
from tests.fixtures.clock import FakeClock
from tests.ledger.making import DECISION, RUN, T0, asked, decided, tool
from tests.store.making import record


class Story:
    """A ledger in which a second passes between any two deeds."""

    def __init__(self) -> None:
        self.clock = FakeClock(T0)
        self.ledger = MemoryStore(self.clock)
        self.recorder = Recorder(self.ledger, self.clock, Redactor())

    async def claim(self, call_id: str, name: str = "payments.pay") -> object:
        await self.clock.sleep(1)
        call = decided(call_id, tool=tool(name=name))
        await self.recorder.claim(call, ())
        return call

    async def pay(self, call_id: str, name: str = "payments.pay") -> None:
        call = await self.claim(call_id, name)
        await self.clock.sleep(1)
        await self.recorder.finish(call, Succeeded({"content": []}))  # type: ignore[arg-type]  # it is a Call


@pytest.fixture
async def story() -> Story:
    """call_1 paid (1 s to 2 s), call_2 denied at 2 s, call_3 refunds from 3 s and never ends, call_4 a read at 3 s."""
    story = Story()
    await story.ledger.open_run(RUN, "k", T0)
    await story.pay("call_1")
    await story.recorder.record(decided("call_2"), Denied(DECISION))
    await story.claim("call_3", "payments.refund")
    await story.recorder.record(decided("call_4", tool=tool(name="mail.list")), Succeeded({}))
    await story.ledger.record(record("admin", kind=EventKind.ADMIN))
    return story


async def lines(story: Story, **wanted: object) -> list[CallLine]:
    return [line async for line in call_lines(story.ledger, EventFilter(**wanted))]  # type: ignore[arg-type]  # a table


async def test_a_line_says_who_did_what_on_whose_authority_and_what_decided_it(story: Story) -> None:
    line = (await lines(story, call_id="call_1"))[0]
    assert (line.agent, line.on_behalf_of, line.delegation) == ("billing", "ann", ("planner", "billing"))
    assert (line.owner, line.approved_by) == ("finance", ())
    assert (line.credential_id, line.run_id, line.tool) == ("tok_1", "run_1", "payments.pay")
    assert (line.policies, line.bundle) == (("pay", "limits"), "sha256:bundle")
    assert (line.outcome, line.code, line.seq, line.at_ms, line.duration_ms) == ("succeeded", "", 2, T0, 2000)
    assert (line.asked["arguments"], line.ended["result"]) == ({"amount": 1}, {"content": []})
    assert line.replayed_from == ""


@pytest.mark.parametrize("person", ["ann", "finance"])
async def test_calls_are_found_by_the_user_or_the_owner_whom_they_were_made_for(story: Story, person: str) -> None:
    found = await latest_lines(story.ledger, EventFilter(limit=2), Asked(person=person))
    assert [line.call_id for line in found] == ["call_3", "call_4"]
    assert await latest_lines(story.ledger, EventFilter(), Asked(person="billing")) == []
    assert [line.call_id for line in await latest_lines(story.ledger, EventFilter(), Asked("executing"))] == ["call_3"]


async def test_every_call_is_one_line_and_those_under_way_come_last(story: Story) -> None:
    found = await lines(story)
    assert [(line.call_id, line.outcome) for line in found] == [
        ("call_1", "succeeded"),
        ("call_2", "denied"),
        ("call_4", "succeeded"),
        ("call_3", "executing"),
    ]
    assert found[-1].duration_ms is None
    assert found[1].message == "why not"


async def test_calls_are_found_by_tool_agent_run_and_time(story: Story) -> None:
    assert [line.call_id for line in await lines(story, tool="payments.*")] == ["call_1", "call_2", "call_3"]
    assert [line.call_id for line in await lines(story, agent="nobody")] == []
    assert len(await lines(story, run_id="run_1")) == 4
    assert [line.call_id for line in await lines(story, since_ms=T0 + 2000, until_ms=T0 + 3000)] == ["call_2"]


async def test_a_call_that_ended_after_the_times_asked_for_still_tells_its_outcome(story: Story) -> None:
    found = await lines(story, until_ms=T0 + 2000)
    assert [(line.call_id, line.outcome) for line in found] == [("call_1", "succeeded")]


async def test_a_limit_counts_calls_and_lets_each_end(story: Story) -> None:
    await story.pay("call_5")
    assert [line.call_id for line in await lines(story, limit=1)] == ["call_1"]
    assert [line.call_id for line in await lines(story, limit=2)] == ["call_1", "call_2"]
    assert [line.call_id for line in await lines(story, limit=3)] == ["call_1", "call_2", "call_3"]


async def test_the_latest_calls_come_in_the_order_in_which_they_started(story: Story) -> None:
    assert [line.call_id for line in await latest_lines(story.ledger, EventFilter(limit=2))] == ["call_3", "call_4"]
    everything = await latest_lines(story.ledger, EventFilter(limit=50))
    assert [line.call_id for line in everything] == ["call_1", "call_2", "call_3", "call_4"]
    assert all(line.outcome == "executing" for line in everything if line.call_id == "call_3")


async def test_one_call_is_found_with_its_events(story: Story) -> None:
    assert [event.kind for event in await call_events(story.ledger, "call_1")] == [
        EventKind.CALL_CLAIMED,
        EventKind.CALL_FINISHED,
    ]
    found = await one_line(story.ledger, "call_1")
    assert found is not None
    assert found.outcome == "succeeded"
    assert await one_line(story.ledger, "ghost") is None
    assert await one_line(story.ledger, "") is None
    assert await call_events(story.ledger, "") == []
    assert await one_line(story.ledger, "admin") is None


async def test_a_line_tells_the_error_or_what_is_waited_for() -> None:
    story = Story()
    await story.recorder.record(asked("c1"), Failed(ConnectorFault("It is down.", detail="host")))
    await story.recorder.record(asked("c2"), Waiting("call_0", "Ask again.", 3.0))
    found = await lines(story)
    assert [(line.outcome, line.code, line.message) for line in found] == [
        ("failed", "unavailable", "It is down."),
        ("waiting", "", "Ask again."),
    ]


async def test_an_event_somebody_made_unreadable_is_a_line_without_details() -> None:
    story = Story()
    for body in ("nonsense", "[1]"):
        await story.ledger.record(Record(f"c-{body}", T0, "", "a", "", "t.x", {}))
        last = story.ledger._events.pop()
        story.ledger._events.append(type(last)(**{**_fields(last), "body": body}))
    found = await lines(story)
    assert [(line.agent, line.tool, line.outcome, line.policies) for line in found] == [
        ("a", "t.x", "executing", ())
    ] * 2


def _fields(event: object) -> dict[str, object]:
    return {name: getattr(event, name) for name in type(event).__slots__}


async def test_a_tail_follows_what_comes(story: Story) -> None:
    seen = tail(story.ledger, EventFilter(), story.clock)
    before = [event async for event in story.ledger.events(EventFilter())][-1].seq

    async def next_seq() -> int:
        return (await anext(seen)).seq

    class Writing(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await story.ledger.record(record(f"r{len(self.slept)}"))
            await super().sleep(seconds)

    seen = tail(story.ledger, EventFilter(), Writing())
    assert [await next_seq() for _ in range(3)] == [before + 1, before + 2, before + 3]
    await seen.aclose()  # type: ignore[attr-defined]  # an async generator
    seen = tail(story.ledger, EventFilter(after_seq=before - 1), Writing())
    assert await next_seq() == before
    await seen.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_a_tail_of_an_empty_ledger_begins_with_its_first_event() -> None:
    story = Story()

    class Writing(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await story.ledger.record(record("r1"))
            await super().sleep(seconds)

    seen = tail(story.ledger, EventFilter(), Writing())
    assert (await anext(seen)).seq == 1
    await seen.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_an_export_as_json_keeps_everything(story: Story) -> None:
    line = (await lines(story))[0]
    again = json.loads(as_json_line(line))
    assert "\n" not in as_json_line(line)
    assert (again["call_id"], again["policies"], again["asked"]["arguments"]) == (
        "call_1",
        ["pay", "limits"],
        {"amount": 1},
    )


async def test_an_export_as_csv_is_a_table_without_formulas() -> None:
    story = Story()
    for number, name in enumerate(("=cmd()", "+1", "-1", "@x", 'a,b\n"c"', "\tx")):
        call = asked(f"c{number}")
        named = type(call)(call.id, type(call.request)(name, {}, call.request.caller), T0)
        await story.recorder.record(named, Failed(ConnectorFault("no")))
    text = as_csv(await lines(story))
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["tool"] for row in table] == ["'=cmd()", "'+1", "'-1", "'@x", 'a,b\n"c"', "'\tx"]
    assert "asked" not in table[0]
    assert table[0]["agent"] == "unknown"


async def test_an_export_as_csv_leaves_empty_what_is_not_known(story: Story) -> None:
    table = list(csv.DictReader(io.StringIO(as_csv(await lines(story)))))
    running = next(row for row in table if row["call_id"] == "call_3")
    assert (running["duration_ms"], running["policies"]) == ("", "pay limits")


async def test_deeds_of_operators_hide_no_call_from_the_latest(story: Story) -> None:
    for number in range(60):
        await story.ledger.record(record(f"admin{number}", kind=EventKind.ADMIN))
    assert [line.call_id for line in await latest_lines(story.ledger, EventFilter(limit=2))] == ["call_3", "call_4"]
