"""Stage 6: what the policies say."""

import pytest

from gateway.model.facts import Facts, RunRef, Step, StepStatus
from gateway.model.outcome import Denied, Waiting
from gateway.pipeline.stages import DecideAgain
from gateway.pipeline.stages.decide import Decide
from gateway.pipeline.stages.gather import Gather
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, request

FORBID = '@id("never") @message("Not here.") forbid (principal, action, resource);'


async def test_an_allowed_call_goes_on_with_what_was_asked_and_answered() -> None:
    gate = Gate()
    call, outcome = await gate.after(Decide, request("payments_pay"))
    assert outcome is None
    assert (call.decision.allowed, call.decision.policies) == (True, ("all",))
    assert call.decision.bundle == gate.rules.current.bundle.digest
    assert call.given.resource["id"] == "payments.pay"


async def test_a_denied_call_stops_and_keeps_the_decision() -> None:
    call, outcome = await Gate(PERMIT_ALL, FORBID).after(Decide, request("payments_pay"))
    assert isinstance(outcome, Denied)
    assert outcome.decision is call.decision
    assert (call.decision.policies, call.decision.message) == (("never",), "Not here.")


async def test_no_policy_at_all_denies() -> None:
    gate = Gate('@id("other") permit (principal == Gateway::Agent::"other", action, resource);')
    _, outcome = await gate.after(Decide, request("payments_pay"))
    assert isinstance(outcome, Denied)
    assert outcome.decision.policies == ()


async def _while_checking(gate: Gate) -> object:
    """Bring a payment before the policies while its check, call_9, is still running."""
    call = await gate.before(Gather, request("payments_pay"))
    call.bundle = gate.rules.current.bundle
    now = gate.clock.now_ms()
    check = Step("call_9", "fraud.check", "payer", "run_1", StepStatus.EXECUTING, now, now, PAYMENT)
    call.facts = Facts(now, RunRef("run_1", "payer", "open"), priors={"fraud": check})
    outcome = await gate.stage(Decide)(call)
    assert call.decision.waits_for == "call_9"
    return outcome


async def test_a_step_still_running_is_waited_for_and_then_asked_about() -> None:
    outcome = await _while_checking(Gate(PERMIT_ALL, PRECONDITION))
    assert isinstance(outcome, Waiting)
    assert (outcome.on, outcome.retry_after_s) == ("call_9", 0.01)
    assert "#call_9" in outcome.message


async def test_a_step_that_ends_meanwhile_is_decided_on_again() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.inflight.begin("call_9")
    gate.owned.start(_end(gate))
    with pytest.raises(DecideAgain):
        await _while_checking(gate)


async def _end(gate: Gate) -> None:
    gate.inflight.end("call_9")
