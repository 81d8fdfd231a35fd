"""Other policies, put before the calls on record: exactly those that they decide otherwise are listed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.model.facts import Approver
from gateway.pipeline.simulation import Change, Simulated, Simulation
from gateway.policy import Bundle
from gateway.store.bodies import load
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, EventKind, Record
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, request, rules_of
from tests.pipeline.people import ASK, LEADS, PEOPLE, POLICIES, a_gate, asked, paid

LIMIT = """
@id("limit")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
when { context.input has amount && context.input.amount.greaterThan(decimal("500.0")) };
"""
MINUTE = 60_000


def bundle_of(*policies: str, people: tuple[Approver, ...] = ()) -> Bundle:
    return rules_of(*policies, people=people).bundle


async def simulated(gate: Gate, bundle: Bundle, **wanted: Any) -> list[Simulated]:
    simulation = Simulation(gate.store, bundle)
    found = [one async for one in simulation.run(EventFilter(**wanted))]
    assert not any(simulation.skipped.values())
    return found


def changes(found: list[Simulated]) -> dict[str, Change]:
    return {one.event.call_id: one.change for one in found if one.change is not Change.SAME}


@dataclass
class Made:
    """What a test knows of a call that it made; `passed` and `used` are about checks."""

    call_id: str
    tool: str
    arguments: Mapping[str, Any]
    at_ms: int
    passed: bool = False
    used: bool = False


async def some_traffic(gate: Gate, seed: int) -> list[Made]:
    """Make calls by chance; return them in order."""
    dice = random.Random(seed)
    made = []
    for number in range(40):
        gate.clock.passed += dice.choice([1, 60, 400])
        tool = dice.choice(["fraud_check", "fraud_check", "payments_pay"])
        arguments = {
            "payment_id": f"p_{dice.randint(1, 2)}",
            "payee": dice.choice(["ACME", "ACME", "ACME", "Initech"]),
            "amount": dice.choice([100, 100, 100, 700]),
        }
        passed = dice.random() < 0.8
        server = gate.servers["fraud" if tool == "fraud_check" else "payments"]
        server.calls.append(answer({"result": "passed" if passed else "failed", "n": number}))
        at_ms = gate.clock.now_ms()
        ended = await gate.run(tool, arguments, idempotency_key=f"k{number}" if tool == "payments_pay" else None)
        made.append(Made(ended.call.id, tool, arguments, at_ms, passed=passed))
    return made


def expected(made: list[Made]) -> dict[str, Change]:
    """Work out in plain Python which calls need a check, or are too large: what PRECONDITION and LIMIT say."""
    found = {}
    for number, call in enumerate(made):
        if call.tool != "payments_pay":
            continue
        checks = [
            one
            for one in made[:number]
            if one.tool == "fraud_check" and one.arguments["payment_id"] == call.arguments["payment_id"]
        ]
        check = checks[-1] if checks else None
        fits = (
            check is not None
            and check.passed
            and not check.used
            and check.arguments == call.arguments
            and call.at_ms - check.at_ms <= 15 * MINUTE
        )
        if fits and call.arguments["amount"] <= 500:
            assert check is not None
            check.used = True
        else:
            found[call.call_id] = Change.NEWLY_DENIED
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_exactly_the_calls_that_other_policies_decide_otherwise_are_listed(seed: int) -> None:
    gate = Gate()
    made = await some_traffic(gate, seed)
    found = await simulated(gate, bundle_of(PERMIT_ALL, PRECONDITION, LIMIT))
    assert [one.event.call_id for one in found] == [call.call_id for call in made]
    wanted = expected(made)
    assert changes(found) == wanted
    assert 0 < len(wanted) < len([call for call in made if call.tool == "payments_pay"])


async def test_the_policies_in_force_change_nothing() -> None:
    gate = a_gate(*POLICIES, PRECONDITION)
    await gate.run("payments_pay")
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check")
    await asked(gate)
    await gate.approving.desk.approve("bob", await asked(gate), "fine")
    await gate.run("payments_pay")
    assert paid(gate) == [PAYMENT]
    await gate.run("payments_pay")  # answered from the record
    found = await simulated(gate, gate.rules.current.bundle)
    assert changes(found) == {}
    assert {str(one.before) for one in found} == {"allowed", "waiting", "denied"}


async def test_what_would_be_allowed_and_what_would_wait_is_listed_with_what_decides() -> None:
    gate = Gate(PERMIT_ALL, LIMIT)
    small, large = await gate.run("payments_pay"), await gate.run("payments_pay", {**PAYMENT, "amount": 900})
    await gate.run("payments_list", {})
    found = await simulated(gate, bundle_of(PERMIT_ALL))
    assert changes(found) == {large.call.id: Change.NEWLY_ALLOWED}
    [changed] = [one for one in found if one.change is not Change.SAME]
    assert (changed.was, changed.decision.policies) == (("limit",), ("all",))
    found = await simulated(gate, bundle_of(*POLICIES, people=PEOPLE))
    assert changes(found) == {small.call.id: Change.NEWLY_WAITING, large.call.id: Change.NEWLY_WAITING}


async def test_an_approval_on_record_counts_as_it_did_then() -> None:
    gate = a_gate()
    approval = await asked(gate)
    await gate.approving.desk.approve("bob", approval, "fine")
    done = await gate.run("payments_pay")
    twice = ASK.replace("argsMatch", "argsMatch && context.base.approval.quorum >= 2")
    found = await simulated(gate, bundle_of(PERMIT_ALL, twice, LEADS, people=PEOPLE))
    assert changes(found) == {done.call.id: Change.NEWLY_WAITING}


async def test_what_lies_before_the_time_asked_for_is_still_the_past() -> None:
    gate = Gate()
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check")
    gate.clock.passed += 60
    since = gate.clock.now_ms()
    await gate.run("payments_pay")
    found = await simulated(gate, bundle_of(PERMIT_ALL, PRECONDITION), since_ms=since)
    assert [(one.event.tool, one.change) for one in found] == [("payments.pay", Change.SAME)]


async def test_a_check_that_the_first_of_two_payments_would_have_used_up_does_not_serve_the_second() -> None:
    gate = Gate()
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check")
    await gate.run("payments_pay", idempotency_key="a")
    second = await gate.run("payments_pay", idempotency_key="b")
    assert changes(await simulated(gate, bundle_of(PERMIT_ALL, PRECONDITION))) == {second.call.id: Change.NEWLY_DENIED}


async def test_a_payment_that_failed_gives_its_check_back() -> None:
    gate = Gate()
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check")
    gate.servers["payments"].calls.append(answer(isError=True))
    await gate.run("payments_pay", idempotency_key="a")
    await gate.run("payments_pay", idempotency_key="b")
    assert changes(await simulated(gate, bundle_of(PERMIT_ALL, PRECONDITION))) == {}


async def test_a_repeat_is_decided_on_what_its_original_was_decided_on() -> None:
    gate = Gate()
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check")
    await gate.run("payments_pay", idempotency_key="a")
    gate.clock.passed += 3600
    await gate.run("payments_pay", idempotency_key="a")
    assert changes(await simulated(gate, bundle_of(PERMIT_ALL, PRECONDITION))) == {}


async def test_a_call_through_another_tool_is_decided_as_both() -> None:
    gate = Gate()
    asks = request("tools_call", {"name": "payments_list", "arguments": {"limit": 1}})
    through = await gate.entry.run(asks)
    assert through.call.request.via is not None
    no_calls = '@id("no") forbid (principal, action == Gateway::Action::"tools.call", resource);'
    assert changes(await simulated(gate, bundle_of(PERMIT_ALL, no_calls))) == {through.call.id: Change.NEWLY_DENIED}
    assert changes(await simulated(gate, bundle_of(PERMIT_ALL, LIMIT))) == {}


async def test_a_call_of_a_tool_that_is_pinned_no_more_is_left_out_and_counted() -> None:
    gate = Gate()
    await gate.run("mail_send", {"to": "ann"})
    await gate.run("nowhere", {})
    without = rules_of(PERMIT_ALL, definitions={"fraud": [], "payments": []}).bundle
    simulation = Simulation(gate.store, without)
    assert [one async for one in simulation.run(EventFilter())] == []
    assert simulation.skipped == {"no tool of that name is pinned": 1}


async def without(gate: Gate, kind: EventKind) -> MemoryStore:
    """What the gate recorded, but for the events of one kind."""
    store = MemoryStore(gate.clock)
    for event in await gate.events():
        if event.kind is not kind:
            about = (event.run_id, event.agent, event.on_behalf_of, event.tool)
            await store.record(Record(event.call_id, event.at_ms, *about, load(event.body.encode()), event.kind))
    return store


async def test_a_step_is_looked_up_anew_where_the_policies_of_its_time_are_not_on_record() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check")
    await gate.run("payments_pay")
    left = await without(gate, EventKind.BUNDLE_KEPT)
    simulation = Simulation(left, gate.rules.current.bundle)
    assert [one.change async for one in simulation.run(EventFilter(tool="payments.pay"))] == [Change.SAME]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [({"tool": "payments.*"}, 2), ({"tool": "payments.pay"}, 1), ({"agent": "other"}, 1), ({"run_id": "no"}, 0)],
)
async def test_only_what_is_asked_for_is_listed(wanted: dict[str, str], number: int) -> None:
    gate = Gate()
    await gate.run("payments_pay")
    await gate.run("payments_list", {}, agent="other")
    await gate.run("mail_send", {"to": "ann"})
    assert len(await simulated(gate, bundle_of(PERMIT_ALL), **wanted)) == number
