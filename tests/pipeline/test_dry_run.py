"""A dry run is decided as the call itself would be, with the same past, and nothing more comes of it."""

from typing import Any

import pytest

from gateway.model.errors import IdentityFault, LimitFault, RequestFault
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded
from gateway.model.request import DryRun
from gateway.pipeline.replay import Verdict, replay
from gateway.pipeline.simulation import Change, Simulation
from gateway.pipeline.trying import Tried, Trying
from gateway.store.bodies import load
from gateway.store.ports import EventFilter, EventKind
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, request
from tests.pipeline.people import a_gate, shown

DRY = DryRun()
ONLY_DRY = '@id("only.dry") forbid (principal, action, resource) unless { context.base.dryRun };'
NEVER_DRY = '@id("never.dry") forbid (principal, action, resource) when { context.base.dryRun };'


@pytest.fixture
def gate() -> Gate:
    return Gate()


def only_asked(outcome: Outcome) -> RequestFault:
    assert isinstance(outcome, Failed), outcome
    assert isinstance(outcome.error, RequestFault)
    assert outcome.error.code == "dry_run"
    return outcome.error


async def checked(gate: Gate, **more: Any) -> None:
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    assert isinstance((await gate.run("fraud_check", **more)).outcome, Succeeded)


async def test_a_call_that_the_policies_allow_is_not_made_and_the_dry_run_is_on_record(gate: Gate) -> None:
    ended = await gate.run("payments_pay", dry_run=DRY)
    error = only_asked(ended.outcome)
    assert "Nothing was done" in error.message
    assert error.told == {"ruling": "allow", "policies": ["all"]}
    assert gate.servers["payments"].asked == []
    [event] = await gate.events(ended.call.id)
    body = load(event.body.encode())
    assert (event.kind, event.tool, body["outcome"]) == (EventKind.CALL_RECORDED, "payments.pay", "failed")
    assert (body["error"]["code"], body["facts"]["dry_run"], body["decision"]["allowed"]) == ("dry_run", True, True)


async def test_it_uses_up_nothing_and_satisfies_no_precondition() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    only_asked((await gate.run("fraud_check", dry_run=DRY)).outcome)
    assert gate.servers["fraud"].asked == []
    assert isinstance((await gate.run("payments_pay")).outcome, Denied)
    await checked(gate)
    for _ in range(2):
        only_asked((await gate.run("payments_pay", dry_run=DRY)).outcome)
    assert isinstance((await gate.run("payments_pay")).outcome, Succeeded)


async def test_it_is_refused_as_the_call_would_be_with_the_missing_step_filled_in() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    refused = await gate.run("payments_pay", dry_run=DRY)
    told = shown(gate, refused)
    assert (told["code"], told["remedies"]) == ("denied", [{"tool": "fraud_check", "arguments": PAYMENT}])
    assert isinstance(refused.outcome, Denied)
    wrong = (await gate.run("payments_pay", {"payee": 7}, dry_run=DRY)).outcome
    assert isinstance(wrong, Failed)
    assert wrong.error.code == "invalid_arguments"


async def test_nobody_is_asked_where_the_call_would_wait_for_a_person() -> None:
    gate = a_gate()
    error = only_asked((await gate.run("payments_pay", dry_run=DRY)).outcome)
    assert error.told == {"ruling": "needs_approval", "policies": ["pay.approval"]}
    assert "needs a person's approval (leads)" in error.message
    assert await gate.approving.desk.listed() == []


async def test_a_call_that_was_made_before_would_be_answered_from_the_record(gate: Gate) -> None:
    paid = await gate.run("payments_pay", idempotency_key="k")
    error = only_asked((await gate.run("payments_pay", idempotency_key="k", dry_run=DRY)).outcome)
    assert f"#{paid.call.id}" in error.message
    assert len(gate.servers["payments"].asked) == 1


@pytest.mark.parametrize(("policy", "dry", "real"), [(ONLY_DRY, True, False), (NEVER_DRY, False, True)])
async def test_policies_can_tell_a_dry_run_from_a_call(policy: str, dry: bool, real: bool) -> None:
    gate = Gate(PERMIT_ALL, policy)
    for _ in range(2):  # neither is answered with what is known of the other
        assert isinstance((await gate.run("payments_list", {}, dry_run=DRY)).outcome, Failed) is dry
        assert isinstance((await gate.run("payments_list", {})).outcome, Succeeded) is real


async def test_it_replays_and_is_simulated_as_a_dry_run() -> None:
    gate = Gate(PERMIT_ALL, ONLY_DRY)
    await gate.run("payments_pay", dry_run=DRY)
    await gate.run("payments_pay")
    assert [one.verdict async for one in replay(gate.store, EventFilter())] == [Verdict.EQUAL] * 2
    simulation = Simulation(gate.store, gate.rules.current.bundle)
    assert [one.change async for one in simulation.run(EventFilter())] == [Change.SAME] * 2


async def test_in_a_run_begun_anew_it_stands_for_no_step(gate: Gate) -> None:
    await gate.run("payments_list", {}, run="job")
    run = (await gate.run("payments_list", {"limit": 1}, run="job")).call.facts.run.id
    await gate.run("run_resume", {"run": run})
    only_asked((await gate.run("payments_list", {}, run=run, dry_run=DRY)).outcome)
    repeated = (await gate.run("payments_list", {}, run=run)).outcome
    assert isinstance(repeated, Succeeded)
    assert repeated.replayed_from is not None


async def test_dry_runs_are_no_loop(gate: Gate) -> None:
    for _ in range(40):
        only_asked((await gate.entry.run(request("payments_list", {}, dry_run=DRY))).outcome)


# The operator asks


async def test_the_operator_is_told_why_in_the_agents_name() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    trying = Trying(gate.runner)
    asked = Tried("payer", "payments.pay", PAYMENT, "os:op")
    told = await trying.explain(asked)
    assert (told["allowed"], told["outcome"], told["policies"]) == (
        False,
        "needs_precondition",
        ["pay.requires-fraud-check"],
    )
    assert told["remedies"] == [{"tool": "fraud.check", "arguments": PAYMENT}]
    [verdict] = [one for one in told["verdicts"] if one["policy"] == "pay.requires-fraud-check"]
    assert (verdict["applies"], verdict["condition"]) == (True, "context.prior has fraud")
    await checked(gate)
    told = await trying.explain(asked)
    assert (told["allowed"], told["outcome"]) == (True, "allow")
    [event] = await gate.events(told["call"])
    body = load(event.body.encode())
    assert (event.agent, body["transport"]) == ("payer", "operator")
    assert (body["identity"]["method"], body["identity"]["credential_id"]) == ("operator", "os:op")
    assert gate.servers["payments"].asked == []


async def test_the_operator_asks_about_a_run_and_a_user() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    await checked(gate, run="payday")
    trying = Trying(gate.runner)
    assert (await trying.explain(Tried("payer", "payments.pay", PAYMENT, "os:op", run="payday")))["allowed"]
    assert not (await trying.explain(Tried("payer", "payments.pay", PAYMENT, "os:op", run="other")))["allowed"]
    told = await trying.explain(Tried("payer", "payments.pay", PAYMENT, "os:op", on_behalf_of="ann"))
    assert [event.on_behalf_of for event in await gate.events(told["call"])] == ["ann"]


async def test_what_would_not_be_decided_is_refused_as_the_call_would_be(gate: Gate) -> None:
    trying = Trying(gate.runner)
    with pytest.raises(RequestFault, match="nowhere"):
        await trying.explain(Tried("payer", "nowhere.pay", {}, "os:op"))
    with pytest.raises(IdentityFault):
        await trying.explain(Tried("nobody", "payments.pay", PAYMENT, "os:op"))
    await gate.pause("tool:payments.pay")
    with pytest.raises(LimitFault):
        await trying.explain(Tried("payer", "payments.pay", PAYMENT, "os:op"))
