"""A run is gone on with otherwise behind its nth call: what comes before is on record, what follows is carried out."""

from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.ledger.forking import Origin, origin_in, origin_of, plan_fork
from gateway.ledger.trace import run_lines
from gateway.model.errors import ConnectorFault, RequestFault
from gateway.model.facts import RunRef
from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.model.tool import Effect
from gateway.pipeline.replay import replay
from gateway.store.imports import ForkedRun
from gateway.store.ports import EventFilter
from tests.pipeline.gate import JOIN, PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, rules_of
from tests.pipeline.test_resume import TO_BOB, Agent, asked, house
from tests.pipeline.test_rollback import RULES as UNDOABLE
from tests.store.making import ending, intent

LOST = ConnectorFault("no answer", code="timeout")


async def source_of(gate: Gate, run_id: str = "") -> RunRef:
    found = await gate.store.find_run(run_id or (await gate.store.runs("payer", 1))[0].run.id)
    assert found is not None
    return found


async def fork(gate: Gate, at: int, run_id: str = "") -> Agent:
    """Fork the latest run of `payer`, or another; return the agent as it begins in the fork."""
    source = await source_of(gate, run_id)
    planned = await plan_fork(gate.store, source, at)
    run = RunRef(gate.ids.new("run"), source.owner, source.source)
    await gate.store.fork_run(ForkedRun(run, f"fork {run.id}", gate.clock.now_ms(), "os:op", planned.fork))
    return Agent(gate, run=run.id, attempt=None)


async def of_run(gate: Gate, run_id: str) -> list[tuple[str, str]]:
    return [(str(event.kind), event.body) for event in await gate.events() if event.run_id == run_id]


async def test_the_first_calls_are_answered_from_the_record_and_what_follows_is_carried_out() -> None:
    gate = house()
    agent = Agent(gate)
    calls: list[Any] = [
        ("payments_list", {}),
        ("payments_pay", PAYMENT),
        ("payments_list", {}),
        ("payments_pay", TO_BOB),
    ]
    was = [(await agent.call(*each))["n"] for each in calls]
    source = await source_of(gate)
    before = await of_run(gate, source.id)
    forked = await fork(gate, 3)
    assert asked(gate) == {"payments": 4}
    told = [(await forked.call(*each))["n"] for each in calls]
    assert told == [*was[:3], "payments-5"]  # Bob is paid in the fork as well
    assert asked(gate) == {"payments": 5}
    assert [kind for kind, _ in await of_run(gate, source.id)] == [*(kind for kind, _ in before), "admin"]
    assert (await Agent(gate).call("payments_pay"))["n"] == "payments-6"  # there, it is a new call as ever
    assert await gate.store.verify() > 0
    assert {one.verdict async for one in replay(gate.store, EventFilter(limit=10_000))} == {"equal"}


async def test_a_delivery_in_the_fork_is_none_in_the_other_run() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    forked = await fork(gate, 1)
    again = Agent(gate, attempt="a2")
    await again.call("payments_list", {})  # the other run is begun anew, and has not come to the payment yet
    assert (await forked.call("payments_pay"))["n"] == "payments-1"
    assert (await again.call("payments_pay"))["n"] == "payments-1"
    assert asked(gate) == {"payments": 2}


async def test_a_fork_that_is_begun_anew_goes_on_where_it_was() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    forked = await fork(gate, 1)
    first = [(await forked.call("payments_pay"))["n"] for _ in range(3)]
    assert first == ["payments-1", "payments-2", "payments-3"]  # the same call: once there, twice here
    again = Agent(gate, run=forked.run, attempt="a2")
    assert [(await again.call("payments_pay"))["n"] for _ in range(4)] == [*first, "payments-4"]
    gate.recollections._held.clear()  # as after a restart of the gateway, which does not know what arrived of the first
    assert (await again.call("payments_pay"))["n"] == "payments-1"
    assert (await again.call("payments_pay"))["n"] == "payments-5"


async def test_a_check_that_was_used_up_pays_nothing_again_in_a_fork() -> None:
    gate = house(PERMIT_ALL, PRECONDITION)
    agent = Agent(gate)
    await agent.call("fraud_check")
    await agent.call("payments_pay")
    forked = await fork(gate, 1)
    assert (await forked.call("fraud_check"))["n"] == "fraud-1"
    assert isinstance((await forked.ended("payments_pay")).outcome, Denied)
    assert (await forked.call("fraud_check"))["n"] == "fraud-2"  # made anew, and good for one payment
    assert (await forked.call("payments_pay"))["n"] == "payments-2"
    assert isinstance((await forked.ended("payments_pay")).outcome, Denied)


async def test_a_check_that_was_not_used_up_is_good_for_one_of_the_two_runs() -> None:
    gate = house(PERMIT_ALL, PRECONDITION)
    await Agent(gate).call("fraud_check")
    forked = await fork(gate, 1)
    assert (await forked.call("fraud_check"))["n"] == "fraud-1"
    assert isinstance((await forked.ended("payments_pay")).outcome, Denied)
    assert (await Agent(gate).call("payments_pay"))["n"] == "payments-1"


async def test_a_repeat_is_decided_on_what_the_original_was_decided_on_by_the_policies_of_today() -> None:
    gate = house(PERMIT_ALL, PRECONDITION)
    agent = Agent(gate)
    await agent.call("fraud_check")
    await agent.call("payments_pay")
    source = await source_of(gate)
    forked = await fork(gate, 2)
    assert (await forked.call("payments_pay"))["n"] == "payments-1"
    assert isinstance((await forked.ended("payments_pay")).outcome, Denied)  # that is another one
    other = await fork(gate, 2, source.id)
    gate.rules.current = rules_of(PERMIT_ALL, '@id("no") forbid (principal, action, resource);')
    assert isinstance((await other.ended("payments_pay")).outcome, Denied)


async def test_what_has_a_key_is_done_once_whatever_is_forked() -> None:
    gate = house()
    settled = (await Agent(gate).call("payments_settle"))["n"]
    early = await fork(gate, 1)
    await Agent(gate).call("payments_settle", TO_BOB)
    assert (await early.call("payments_settle"))["n"] == settled
    assert (await early.call("payments_settle", TO_BOB))["n"] == "payments-2"  # behind the fork, and done already
    assert asked(gate) == {"payments": 2}


async def test_what_is_done_once_in_a_run_is_not_done_again_in_its_fork() -> None:
    rule = ToolRule(effect=Effect.IRREVERSIBLE, accept_irreversible=True, once_per_run=True)
    gate = house(tools={"payments.pay": rule})
    await Agent(gate).call("payments_pay")
    forked = await fork(gate, 1)
    assert [(await forked.call("payments_pay"))["n"] for _ in range(3)] == ["payments-1"] * 3


async def test_an_effect_whose_answer_is_not_kept_is_not_made_again() -> None:
    gate = house()
    gate.servers["payments"].calls[:0] = [answer({"n": "x" * 300_000}), answer({"n": "y" * 300_000})]
    await Agent(gate).call("payments_pay")
    await Agent(gate).call("payments_list", {})
    forked = await fork(gate, 2)
    outcome = (await forked.ended("payments_pay")).outcome
    assert isinstance(outcome, Succeeded)
    assert "its answer is not kept" in outcome.result["content"][0]["text"]
    assert (await forked.call("payments_list", {}))["n"] == "payments-1"  # a read is read again
    assert asked(gate) == {"payments": 3}


async def test_what_failed_or_was_refused_is_made_again() -> None:
    gate = house(PERMIT_ALL, PRECONDITION)
    gate.servers["payments"].calls.insert(0, ConnectorFault("not so", code="rejected"))
    agent = Agent(gate)
    assert isinstance((await agent.ended("payments_settle")).outcome, Failed)
    assert isinstance((await agent.ended("payments_pay")).outcome, Denied)
    forked = await fork(gate, 2)
    assert (await forked.call("payments_settle"))["n"] == "payments-1"
    assert isinstance((await forked.ended("payments_pay")).outcome, Denied)


async def test_a_fork_of_a_fork_begins_as_that_went() -> None:
    gate = house()
    agent = Agent(gate)
    was = [(await agent.call(*each))["n"] for each in (("payments_pay", PAYMENT), ("payments_pay", TO_BOB))]
    first = await fork(gate, 2)
    assert (await first.call("payments_pay"))["n"] == was[0]
    assert (await first.call("payments_list", {}))["n"] == "payments-3"
    second = await fork(gate, 2, str(first.run))
    assert (await second.call("payments_pay"))["n"] == was[0]
    assert (await second.call("payments_list", {}))["n"] == "payments-3"
    assert (await second.call("payments_pay", TO_BOB))["n"] == "payments-4"  # the first fork had not come to it


async def test_each_of_its_callers_goes_on_with_what_it_did_and_nobody_else() -> None:
    gate = house(PERMIT_ALL, JOIN)
    agent = Agent(gate)
    await agent.call("payments_pay")
    source = await source_of(gate)
    other = Agent(gate, "other", run=source.id, attempt=None)
    assert (await other.call("payments_pay"))["n"] == "payments-2"
    forked = await fork(gate, 2)
    assert (await Agent(gate, "other", run=forked.run, attempt=None).call("payments_pay"))["n"] == "payments-2"
    assert (await forked.call("payments_pay"))["n"] == "payments-1"
    assert asked(gate) == {"payments": 2}


async def test_a_call_in_doubt_or_taken_back_cannot_be_the_beginning_of_a_fork() -> None:
    gate = house(tools=UNDOABLE)
    agent = Agent(gate)
    await agent.call("payments_list", {})
    paid = await agent.ended("payments_pay")
    gate.servers["payments"].calls.insert(0, LOST)
    doubtful = await agent.ended("payments_pay", TO_BOB)
    source = await source_of(gate)
    for at, why in ((0, "has 3 calls"), (4, "fork it behind one of 1 to 3"), (3, f"runs settle {doubtful.call.id}")):
        with pytest.raises(RequestFault, match=why):
            await plan_fork(gate.store, source, at)
    forked = await fork(gate, 2)
    undo = intent("undo", "payments.refund", agent="payer", run_id=source.id, body={"undoes": paid.call.id})
    await gate.store.claim(undo)
    await gate.store.finish(ending("undo", compensates=paid.call.id))
    with pytest.raises(RequestFault, match="was taken back: fork it before that, --at 1"):
        await plan_fork(gate.store, source, 2)
    refused = await forked.ended("payments_pay")
    assert isinstance(refused.outcome, Failed)
    assert "its effect was taken back since" in refused.outcome.error.message
    assert "use another key" in refused.outcome.error.message
    again = await gate.run("payments_pay", PAYMENT, run=forked.run, idempotency_key="another")
    assert isinstance(again.outcome, Succeeded)
    assert (again.outcome.replayed_from, len(gate.servers["payments"].asked)) == (None, 4)


async def test_a_fork_says_where_it_begins_and_no_other_run_does() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    source = await source_of(gate)
    forked = await fork(gate, 1)
    [line] = await run_lines(gate.store, source.id)
    assert await origin_of(gate.store, str(forked.run)) == Origin(source.id, line.seq)
    assert await origin_of(gate.store, source.id) is None
    told = [event for event in await gate.events() if event.kind == "admin"]
    assert [(event.run_id, event.agent) for event in told] == [(str(forked.run), "payer"), (source.id, "payer")]
    assert [origin_in(event) is None for event in told] == [False, True]


async def test_a_step_whose_repeat_was_refused_is_not_made_again_once_it_is_allowed() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    forked = await fork(gate, 1)
    allowed = gate.rules.current
    gate.rules.current = rules_of(PERMIT_ALL, '@id("no") forbid (principal, action, resource);')
    for _ in range(2):
        assert isinstance((await forked.ended("payments_pay")).outcome, Denied)
    gate.rules.current = allowed
    assert (await forked.call("payments_pay"))["n"] == "payments-1"
    assert asked(gate) == {"payments": 1}
    assert (await forked.call("payments_pay"))["n"] == "payments-2"  # the other run made it once, this is the second


async def test_an_answer_that_got_lost_in_the_fork_is_given_again_and_the_effect_is_not_made() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    forked = await fork(gate, 1)
    for arrives in (False, False, True):
        assert (await forked.call("payments_pay", arrives=arrives))["n"] == "payments-1"
    assert (await forked.call("payments_pay"))["n"] == "payments-2"
    assert asked(gate) == {"payments": 2}


async def test_an_answer_that_arrives_late_says_nothing_of_the_one_given_since() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    forked = await fork(gate, 1)
    early, late = [await forked.ended("payments_pay", arrives=False) for _ in range(2)]
    await gate.recollections.deliver(early.call.id, 2)
    assert (await forked.call("payments_pay", arrives=False))["n"] == "payments-1"
    await gate.recollections.deliver(late.call.id, 2)
    assert asked(gate) == {"payments": 1}
