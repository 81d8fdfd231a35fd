"""After its bodies went, a call is still made once only, and whatever asks for them is told why they are not there."""

from gateway.ledger.retention import Retention
from gateway.model.outcome import Denied, Succeeded
from gateway.pipeline.desk import described
from gateway.pipeline.replay import Verdict, replay
from gateway.pipeline.simulation import Simulation
from gateway.store.ports import EventFilter
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer
from tests.pipeline.people import a_gate, asked

DAY_S = 86_400


async def days_later(gate: Gate, days: int = 200) -> None:
    gate.clock.passed += days * DAY_S
    assert await Retention(gate.store, lambda: 180 * DAY_S * 1000, gate.clock).run() > 0
    await gate.store.verify()


async def test_a_repeat_of_a_payment_whose_record_went_is_not_made_again() -> None:
    gate = Gate()
    paid = await gate.run("payments_settle")
    await days_later(gate)
    again = await gate.run("payments_settle")
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == paid.call.id
    assert "its answer is not kept" in again.outcome.result["content"][0]["text"]
    assert len(gate.servers["payments"].asked) == 1


async def test_a_check_whose_record_went_satisfies_no_precondition() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION.replace('duration("15m")', 'duration("365d")'))
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    run = {"run": "payday"}
    await gate.run("fraud_check", **run)
    await days_later(gate)
    refused = await gate.run("payments_pay", **run)
    assert isinstance(refused.outcome, Denied)
    assert [remedy.tool for remedy in refused.outcome.decision.remedies] == ["fraud.check"]


async def test_an_approval_whose_record_went_is_still_listed() -> None:
    gate = a_gate()
    approval = await asked(gate)
    await gate.approving.desk.approve("bob", approval, "fine")
    await gate.run("payments_pay")
    await days_later(gate)
    found = await gate.approving.desk.find(approval)
    told = described(found, gate.clock.now_ms())
    assert (told["state"], told["message"], told["arguments"]) == ("used", "removed by retention", {})


async def test_what_went_can_be_neither_replayed_nor_simulated_and_both_say_so() -> None:
    gate = Gate()
    await gate.run("payments_pay")
    await gate.run("payments_list", {})
    await days_later(gate)
    await gate.run("payments_pay", {**PAYMENT, "payment_id": "p_18"})
    verdicts = [one.verdict async for one in replay(gate.store, EventFilter())]
    assert verdicts == [Verdict.REMOVED, Verdict.REMOVED, Verdict.EQUAL]
    simulation = Simulation(gate.store, gate.rules.current.bundle)
    assert len([one async for one in simulation.run(EventFilter())]) == 1
    assert simulation.skipped == {"removed by retention": 2}
