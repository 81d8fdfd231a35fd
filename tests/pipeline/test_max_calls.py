"""A permit may say how many calls it allows: exact, and only of calls that are made."""

import asyncio

import pytest

from gateway.model.errors import ConnectorFault
from gateway.model.outcome import Failed, Outcome, Succeeded
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate

PAYS = 'permit (principal, action == Gateway::Action::"payments.pay", resource);'
LISTS = 'permit (principal, action == Gateway::Action::"payments.list", resource);'


def a_gate(*limits: str, policy: str = PAYS) -> Gate:
    return Gate(*(f'@id("p{number}") @max_calls("{limit}") {policy}' for number, limit in enumerate(limits)))


async def pay(gate: Gate, number: int, run: str = "one") -> Outcome:
    return (await gate.run("payments_pay", {**PAYMENT, "payment_id": f"p_{number}"}, run=run)).outcome


def code(outcome: Outcome) -> str:
    return outcome.error.code if isinstance(outcome, Failed) else type(outcome).__name__


async def test_a_permit_allows_so_many_calls_in_a_run_and_each_run_has_its_own() -> None:
    gate = a_gate("2/run")
    assert [code(await pay(gate, number)) for number in range(3)] == ["Succeeded", "Succeeded", "budget_exceeded"]
    assert isinstance(await pay(gate, 3, run="another"), Succeeded)
    assert len(gate.servers["payments"].asked) == 3
    await gate.store.verify()


async def test_a_window_of_time_frees_them_again_and_the_refusal_says_when() -> None:
    gate = a_gate("1/minute")
    await pay(gate, 1)
    refused = await pay(gate, 2, run="another")
    assert isinstance(refused, Failed)
    assert "the policies for payments.pay by payer" in refused.error.message
    assert refused.error.retry_after_s is not None
    await gate.clock.sleep(refused.error.retry_after_s)
    assert isinstance(await pay(gate, 2, run="another"), Succeeded)


async def test_of_several_limits_of_one_window_the_least_holds() -> None:
    gate = a_gate("5/run", "1/run", "9/day")
    assert [code(await pay(gate, number)) for number in range(2)] == ["Succeeded", "budget_exceeded"]


async def test_a_limit_is_for_each_agent_and_not_for_calls_that_another_permit_allows() -> None:
    gate = Gate(f'@id("a") @max_calls("1/day") {PAYS}', f'@id("b") {LISTS}')
    assert [code(await pay(gate, number)) for number in range(2)] == ["Succeeded", "budget_exceeded"]
    other = await gate.run("payments_pay", {**PAYMENT, "payment_id": "p_9"}, agent="other")
    assert isinstance(other.outcome, Succeeded)
    for _ in range(3):
        assert isinstance((await gate.run("payments_list", {})).outcome, Succeeded)


async def test_reads_are_counted_as_well() -> None:
    gate = a_gate("2/run", policy=LISTS)
    ended = [code((await gate.run("payments_list", {"limit": n}, run="one")).outcome) for n in range(3)]
    assert ended == ["Succeeded", "Succeeded", "budget_exceeded"]
    await gate.store.verify()


async def test_a_call_that_did_nothing_and_one_answered_from_the_record_take_nothing() -> None:
    gate = a_gate("1/run")
    gate.servers["payments"].calls.append(ConnectorFault("It is down.", code="rejected"))
    assert code(await pay(gate, 1)) == "rejected"
    first = await gate.run("payments_pay", PAYMENT, run="one", idempotency_key="k")
    again = await gate.run("payments_pay", PAYMENT, run="one", idempotency_key="k")
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == first.call.id


@pytest.mark.parametrize("most", [1, 3])
async def test_of_many_at_once_no_more_than_that_are_made(most: int) -> None:
    gate = a_gate(f"{most}/run")
    ended = await asyncio.gather(*(pay(gate, number) for number in range(20)))
    assert sum(isinstance(outcome, Succeeded) for outcome in ended) == most
    assert len(gate.servers["payments"].asked) == most


async def test_a_permit_without_a_limit_charges_nothing() -> None:
    gate = Gate(PERMIT_ALL)
    ended = await gate.run("payments_pay", PAYMENT)
    assert ended.call.charged is ended.call.bill
