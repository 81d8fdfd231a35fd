"""What becomes of runs: begun anew, ended, gone on with; the same on every store."""

import asyncio

import pytest

from gateway.model.errors import StoreFault
from gateway.model.facts import RunRef
from gateway.store.ports import EventFilter, EventKind, Store
from gateway.store.runs import Attempt, AttemptBegin, RunCancel, RunChange
from tests.store.making import T0, ending, intent, record

RUN = RunRef("run_1", "billing/ann", "meta")
WHO = "billing/ann"


def begin(label: str = "", who: str = WHO, run: str = "run_1") -> AttemptBegin:
    return AttemptBegin(run, who, T0 + 5, "os:op", label)


@pytest.fixture
async def opened(store: Store) -> Store:
    await store.open_run(RUN, "job", T0)
    return store


async def test_a_run_is_begun_anew_as_often_as_it_is_said(opened: Store) -> None:
    assert await opened.attempt("run_1", WHO) == Attempt(1, "", 0)
    assert await opened.begin_attempt(begin()) == Attempt(2, "", 2)
    assert await opened.begin_attempt(begin()) == Attempt(3, "", 3)
    assert await opened.attempt("run_1", WHO) == Attempt(3, "", 3)
    assert await opened.attempt("run_1", "billing") == Attempt()  # everybody for themselves
    assert [each.attempts for each in await opened.runs("", 5)] == [3]
    events = [event async for event in opened.events(EventFilter(run_id="run_1", after_seq=1))]
    assert {(event.kind, event.agent, event.on_behalf_of) for event in events} == {
        (EventKind.RUN_BEGUN, "billing", "ann")
    }
    assert await opened.verify() == 3


async def test_a_label_begins_a_run_once_and_an_older_one_never_again(opened: Store) -> None:
    first = await opened.begin_attempt(begin("monday"))
    assert first == Attempt(1, "monday", 2)  # the run is empty: nothing to do anew
    assert await opened.begin_attempt(begin("monday")) == first
    second = await opened.begin_attempt(begin("tuesday"))
    assert second == Attempt(2, "tuesday", 3)
    assert await opened.begin_attempt(begin("monday")) == second
    assert await opened.attempt("run_1", WHO) == second
    assert await opened.verify() == 3


async def test_a_first_label_in_a_run_that_holds_calls_begins_it_anew(opened: Store) -> None:
    await opened.record(record("c1"))
    assert (await opened.begin_attempt(begin("monday"))).number == 2


async def test_many_that_say_the_same_label_begin_one_attempt(opened: Store) -> None:
    attempts = await asyncio.gather(*(opened.begin_attempt(begin("x")) for _ in range(20)))
    assert {each.number for each in attempts} == {1}
    assert await opened.verify() == 2


async def test_a_run_that_is_not_there_is_not_begun(opened: Store) -> None:
    with pytest.raises(StoreFault, match="begun anew"):
        await opened.begin_attempt(begin(run="run_2"))
    assert await opened.verify() == 1


async def test_a_cancelled_run_keeps_its_name_and_is_cancelled_once(opened: Store) -> None:
    assert await opened.cancel_run(RunCancel("run_1", T0 + 9, "os:op", "wrong account"))
    assert not await opened.cancel_run(RunCancel("run_1", T0 + 9, "os:op"))
    assert not await opened.cancel_run(RunCancel("run_2", T0 + 9, "os:op"))
    found = await opened.find_run("run_1")
    assert found is not None
    assert found.status == "cancelled"
    assert await opened.open_run(RunRef("run_9", WHO, "meta"), "job", T0) == found
    assert await opened.named_run(WHO, "job") == found
    assert await opened.named_run("billing", "job") is None
    assert await opened.verify() == 2


async def test_what_became_of_runs_is_told_since_an_event(opened: Store) -> None:
    await opened.begin_attempt(begin())
    await opened.begin_attempt(begin(who="audit"))
    await opened.cancel_run(RunCancel("run_1", T0, "os:op"))
    changes = [RunChange(2, "run_1", WHO), RunChange(3, "run_1", "audit"), RunChange(4, "run_1", "")]
    assert await opened.run_changes(0) == changes
    assert await opened.run_changes(3) == changes[2:]
    assert await opened.run_changes(4) == []


async def test_a_conversation_goes_on_where_it_was_said_last(opened: Store) -> None:
    assert await opened.placed_runs(WHO, ("here", "there")) == {}
    await opened.place_run(WHO, "here", "run_1", T0 + 1)
    await opened.open_run(RunRef("run_2", WHO, "handle"), "other", T0 + 2)
    await opened.place_run(WHO, "there", "run_1", T0 + 1)
    await opened.place_run(WHO, "there", "run_2", T0 + 3)
    found = await opened.placed_runs(WHO, ("here", "there", "nowhere"))
    assert {place: (each.run.id, each.at_ms) for place, each in found.items()} == {
        "here": ("run_1", T0 + 1),
        "there": ("run_2", T0 + 3),
    }
    assert await opened.placed_runs("billing", ("here",)) == {}


async def test_where_a_conversation_goes_on_tells_when_something_last_happened_there(opened: Store) -> None:
    await opened.place_run(WHO, "here", "run_1", T0 + 1)
    for call_id, at in (("c1", T0 + 500), ("c2", T0 + 90)):
        await opened.claim(intent(call_id, at_ms=at))
        assert (await opened.placed_runs(WHO, ("here",)))["here"].active_ms == T0 + 500
    await opened.record(record("c3", at_ms=T0 + 700))
    assert (await opened.placed_runs(WHO, ("here",)))["here"].active_ms == T0 + 700


async def test_an_answer_is_delivered_in_the_latest_attempt_it_reached(opened: Store) -> None:
    await opened.claim(intent("c1", step_key="k"))
    await opened.finish(ending("c1"))
    for attempt, latest in ((1, 1), (3, 3), (2, 3)):
        await opened.deliver("c1", attempt)
        await opened.record(record(f"r{attempt}"))  # everything queued before is written
        held = await opened.recorded("billing", "payments.pay", "k")
        assert held is not None
        assert held.delivered == latest


async def test_a_call_is_found_by_its_id_whole_or_claimed(opened: Store) -> None:
    body = {"outcome": "succeeded", "arguments_digest": "sha256:9", "result": {"content": []}}
    await opened.record(record("whole", body=body), durable=False)
    whole = await opened.made("whole")
    assert whole is not None
    assert (whole.status, whole.arguments_digest, whole.end_body) == ("succeeded", "sha256:9", body)
    await opened.record(record("refused", body={"outcome": "denied"}))
    refused = await opened.made("refused")
    assert refused is not None
    assert refused.status == "failed"
    await opened.claim(intent("claimed"))
    claimed = await opened.made("claimed")
    assert claimed is not None
    assert (claimed.status, claimed.end_body) == ("executing", None)
    assert await opened.made("nobody") is None
    assert await opened.made("") is None
