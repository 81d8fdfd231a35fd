"""A run of another ledger is put on record as a whole or not at all, and gives no right by itself; on every store."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.model.errors import RequestFault, StoreFault
from gateway.model.facts import RunRef, StepStatus
from gateway.store.bodies import load
from gateway.store.imports import Fork, ForkedRun, ImportedCall, ImportedFork, ImportedRun
from gateway.store.ports import ClaimVerdict, EventFilter, EventKind, Store
from gateway.store.runs import Attempt, RunCancel
from tests.store.making import T0, intent, lookup, record, step

RUN = RunRef("run_9", "billing/ann", "meta")


def made(call_id: str, tool: str = "payments.pay", **fields: Any) -> ImportedCall:
    """A call of `billing` for `ann` that succeeded."""
    known: dict[str, Any] = {
        "at_ms": T0,
        "agent": "billing",
        "on_behalf_of": "ann",
        "asked": {"arguments": {"payment_id": 7}, "imported": {"seq": 3}},
        "claimed": True,
        "ended": {"outcome": "succeeded", "result": {"structuredContent": {"of": call_id}}},
        "ended_ms": T0 + 500,
        "arguments_digest": "sha256:1",
        "step_key": f"key:{call_id}",
    }
    return ImportedCall(call_id=call_id, tool=tool, **(known | fields))


def told(call_id: str) -> ImportedCall:
    """A read of another agent."""
    body = {"outcome": "succeeded", "imported": {"seq": 4}}
    return ImportedCall(call_id, T0 + 1, "audit", "", "payments.list", body)


def run(*calls: ImportedCall, **fields: Any) -> ImportedRun:
    known: dict[str, Any] = {"run": RUN, "key": "job", "opened_ms": T0 - 9, "at_ms": T0 + 900, "by": "os:op"}
    return ImportedRun(**{**known, "told": {"source": "k1"}, "calls": calls, **fields})


async def test_what_was_imported_answers_for_itself(store: Store) -> None:
    check = made("check", "fraud.check", step_key=None)
    pay = made("pay", consumes=("check",), at_ms=T0 + 2)
    await store.import_run(run(check, told("read"), pay))
    assert await store.find_run("run_9") == RUN
    assert await store.count_steps("run_9") == 3
    recorded = await store.recorded("billing", "payments.pay", "key:pay")
    assert recorded is not None
    assert (recorded.status, recorded.delivered, recorded.started_at_ms) == (StepStatus.SUCCEEDED, 0, T0 + 2)
    assert recorded.end_body is not None
    assert recorded.end_body["result"]["structuredContent"] == {"of": "pay"}
    again = intent("other", step_key="key:pay", on_behalf_of="ann")
    assert (await store.claim(again)).verdict is ClaimVerdict.RECORDED
    other = replace(again, call_id="another", arguments_digest="sha256:2")
    assert (await store.claim(other)).verdict is ClaimVerdict.CONFLICT
    found = await store.made("read")
    assert found is not None
    assert await store.verify() == 9


async def test_it_says_where_it_is_from_and_begins_anew_for_all_who_were_in_it(store: Store) -> None:
    await store.import_run(run(made("pay"), told("read")))
    events = [event async for event in store.events(EventFilter(run_id="run_9"))]
    assert [event.kind for event in events] == [
        EventKind.RUN_OPENED,
        EventKind.RUN_IMPORTED,
        EventKind.CALL_CLAIMED,
        EventKind.CALL_FINISHED,
        EventKind.CALL_RECORDED,
        EventKind.RUN_BEGUN,
        EventKind.RUN_BEGUN,
    ]
    assert '"source":"k1"' in events[1].body
    assert [each.at_ms for each in events] == [T0 - 9, T0 + 900, T0, T0 + 500, T0 + 1, T0 + 900, T0 + 900]
    assert await store.attempt("run_9", "billing/ann") == Attempt(2, "", 6)
    assert await store.attempt("run_9", "audit") == Attempt(2, "", 7)
    assert [each.run_id for each in await store.run_changes(0)] == ["run_9", "run_9"]


async def test_no_lookup_finds_an_imported_step_unless_it_asks_for_those_too(store: Store) -> None:
    await step(store, "mine", {"payment_id": 7, "of": {"imported": 1}}, run_id="run_0", on_behalf_of="ann")
    await store.import_run(run(made("check", "fraud.check")))
    for values in ([("payment_id", 7)], []):
        user = lookup(owner="run_9", values=values)
        assert await store.steps([user]) == [None]
        [found] = await store.steps([replace(user, imported=True)])
        assert found is not None
        assert found.call_id == "check"
        [own] = await store.steps([lookup(owner="run_0", values=values)])
        assert own is not None  # arguments of that name make no import
        assert own.call_id == "mine"


async def test_what_was_used_up_or_taken_back_there_is_so_here(store: Store) -> None:
    check, undo = made("check", "fraud.check"), made("undo", "payments.refund", compensates="pay")
    await store.import_run(run(check, made("pay", consumes=("check",)), undo))
    [found] = await store.steps([lookup(owner="run_9", imported=True)])
    assert found is not None
    assert found.consumed_by == "pay"
    taken_back = await store.made("pay")
    assert taken_back is not None
    assert taken_back.status is StepStatus.COMPENSATED
    assert await store.verify() == 10


async def test_of_a_run_that_is_here_in_part_nothing_is_imported(store: Store) -> None:
    await store.open_run(RunRef("run_1", "billing/ann", "meta"), "mine", T0)
    await step(store, "here", {}, tool="payments.pay", step_key="key:taken")
    before = await store.verify()
    refused = {
        "The run run_1": run(run=replace(RUN, id="run_1")),
        "Another run of billing/ann with the same name, run_1,": run(key="mine"),
        "The call here": run(made("new"), made("here")),
        "The effect of call pay of payments.pay, as call here,": run(made("new"), made("pay", step_key="key:taken")),
    }
    for what, imported in refused.items():
        with pytest.raises(RequestFault, match=f"{what} is on record here already"):
            await store.import_run(imported)
    assert await store.verify() == before
    await store.import_run(run(made("pay")))
    with pytest.raises(RequestFault, match="run_9"):
        await store.import_run(run(made("pay")))
    assert await store.cancel_run(RunCancel("run_9", T0, "os:op"))
    with pytest.raises(RequestFault, match="run_9"):
        await store.import_run(run())


async def test_calls_are_counted_once_when_a_run_is_begun_in_the_transaction_that_records_them(store: Store) -> None:
    await store.import_run(run(told("read")))
    await store.record(record("more", run_id="run_9"))
    assert await store.count_steps("run_9") == 2


async def test_a_fork_is_told_of_in_both_runs_and_begun_anew_for_all_who_made_its_first_calls(store: Store) -> None:
    await store.open_run(replace(RUN, id="run_1"), "job", T0)
    forked = ForkedRun(RUN, "fork", T0 + 9, "ann", Fork("run_1", 3, 1, ("billing/ann", "audit")))
    await store.fork_run(forked)
    events = [event async for event in store.events(EventFilter()) if event.seq > 1]
    assert [(event.kind, event.run_id) for event in events] == [
        (EventKind.RUN_OPENED, "run_9"),
        (EventKind.ADMIN, "run_9"),
        (EventKind.ADMIN, "run_1"),
        (EventKind.RUN_BEGUN, "run_9"),
        (EventKind.RUN_BEGUN, "run_9"),
    ]
    own, other = (
        {"what": "run forked", "by": "ann", "at": 3, **more}
        for more in ({"from": "run_1", "until_seq": 1}, {"to": "run_9"})
    )
    assert [load(event.body.encode()) for event in events[1:3]] == [own, other]
    assert await store.find_run("run_9") == RUN
    assert (await store.attempt("run_9", "audit")).number == 2
    assert (await store.attempt("run_1", "billing/ann")).number == 1
    assert await store.verify() == 6
    with pytest.raises(StoreFault):
        await store.fork_run(replace(forked, key="another"))
    assert await store.verify() == 6


async def test_what_an_imported_fork_begins_with_is_on_record_once_and_under_the_run_it_is_of(store: Store) -> None:
    first = [made("check", "fraud.check", asked={"arguments": {}, "imported": {"seq": 3, "first": True}}), told("read")]
    await store.import_run(run(made("mine"), begins=ImportedFork("run_1", 2, first)))
    events = [event async for event in store.events(EventFilter())]
    assert [(event.kind, event.run_id) for event in events[:6]] == [
        (EventKind.RUN_OPENED, "run_9"),
        (EventKind.RUN_IMPORTED, "run_9"),
        (EventKind.CALL_CLAIMED, "run_1"),
        (EventKind.CALL_FINISHED, "run_1"),
        (EventKind.CALL_RECORDED, "run_1"),
        (EventKind.ADMIN, "run_9"),
    ]
    forked = {"what": "run forked", "by": "os:op", "at": 2, "from": "run_1"}
    assert load(events[5].body.encode()) == {**forked, "until_seq": 5}
    assert await store.find_run("run_1") is None
    assert await store.steps([lookup(owner="run_1", imported=True)]) == [None]
    assert (await store.attempt("run_9", "audit")).number == 2  # who made the first calls begins anew in it too
    other = {"run": replace(RUN, id="run_10"), "key": "another"}
    await store.import_run(run(begins=ImportedFork("run_1", 1, first[:1]), **other))
    [told_of] = [event async for event in store.events(EventFilter(run_id="run_10")) if event.kind == EventKind.ADMIN]
    assert load(told_of.body.encode()) == {**forked, "at": 1, "until_seq": 3}
    before = await store.verify()
    strange = ImportedFork("run_1", 1, [replace(first[0], arguments_digest="sha256:2")])
    with pytest.raises(RequestFault, match="The call check is on record here already"):
        await store.import_run(run(begins=strange, run=replace(RUN, id="run_11"), key="a third"))
    assert await store.verify() == before
