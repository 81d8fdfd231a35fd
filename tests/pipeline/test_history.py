"""The steps of the past, as a simulation of policies that ask for other ones finds them."""

from gateway.ledger.retention import Retention
from gateway.pipeline.simulation import Change, Simulation
from gateway.policy import Bundle
from gateway.store.ports import EventFilter
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, rules_of

OTHER_NAME = PRECONDITION.replace("fraud: fraud.check", "seen: fraud.check").replace("prior.fraud", "prior.seen")
OTHER_NAME = OTHER_NAME.replace("prior has fraud", "prior has seen")
NEVER = '@id("never") forbid (principal == Gateway::Agent::"other", action, resource);'
DAY_S = 86_400


async def checked(gate: Gate, **more: str) -> None:
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check", **more)


async def payments(gate: Gate, bundle: Bundle) -> list[Change]:
    return [one.change async for one in Simulation(gate.store, bundle).run(EventFilter(tool="payments.pay"))]


async def test_a_claimed_step_is_found_under_the_name_that_other_policies_give_it() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    await checked(gate)
    await gate.run("payments_pay")
    assert await payments(gate, rules_of(PERMIT_ALL, OTHER_NAME).bundle) == [Change.SAME]


async def test_a_step_of_another_run_is_passed_over() -> None:
    gate = Gate()
    await checked(gate, run="mine")
    await checked(gate, run="another")
    await gate.run("payments_pay", run="mine")
    await gate.run("payments_pay", run="a third")
    assert await payments(gate, rules_of(PERMIT_ALL, PRECONDITION).bundle) == [Change.SAME, Change.NEWLY_DENIED]


async def test_a_check_that_was_refused_is_no_step_and_hides_none() -> None:
    gate = Gate(PERMIT_ALL, NEVER)
    await checked(gate)
    await gate.run("fraud_check", PAYMENT, "other")
    await gate.run("payments_pay")
    assert await payments(gate, rules_of(PERMIT_ALL, PRECONDITION).bundle) == [Change.SAME]


async def test_a_check_whose_record_went_is_no_step() -> None:
    gate = Gate()
    await checked(gate)
    gate.clock.passed += 200 * DAY_S
    assert await Retention(gate.store, lambda: 180 * DAY_S * 1000, gate.clock).run() > 0
    await gate.run("payments_pay", run="payday")
    longer = PRECONDITION.replace('duration("15m")', 'duration("365d")').replace(" in run", " in agent")
    assert await payments(gate, rules_of(PERMIT_ALL, longer).bundle) == [Change.NEWLY_DENIED]
