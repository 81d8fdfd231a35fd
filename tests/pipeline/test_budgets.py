"""Budgets on the way of a call: never more than there is, nothing for what did not happen, and a reason that helps."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.budget.budgets import USAGE_META, Budgets, Told
from gateway.connector import ConnectorFault
from gateway.ledger.settle import settle as settle_call
from gateway.model.errors import LimitFault
from gateway.model.facts import StepStatus
from gateway.model.limit import amount_text
from gateway.model.outcome import Denied, Failed, Succeeded, Unknown
from gateway.pipeline.runner import Ended
from gateway.store.ports import EventKind
from gateway.transport.answers import tool_result
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer
from tests.pipeline.people import ASK, LEADS, POLICIES, a_gate, waits

PRICES = {"payments.pay": {"usd": "amount"}, "payments.list": {"usd": 0.5}}
NO_OTHER = '@id("not-other") forbid (principal == Gateway::Agent::"other", action, resource);'
SAVING = """
@id("saving") @message("Little is left: only checks.")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
when { context.base has budget && context.base.budget.costLeft.lessThan(decimal("300.0")) };
"""


def gate(allowances: Mapping[str, Mapping[str, Any]], *policies: str, **more: Any) -> Gate:
    return Gate(*policies, budgets=Budgets(Told(allowances, prices=PRICES)), **more)


def pays(number: int, amount: Any = 250) -> dict[str, Any]:
    return {**PAYMENT, "payment_id": f"p_{number}", "amount": amount}


def short(ended: Ended) -> LimitFault:
    assert isinstance(ended.outcome, Failed), ended.outcome
    error = ended.outcome.error
    assert isinstance(error, LimitFault)
    assert error.code == "budget_exceeded"
    return error


async def counted(of: Gate) -> dict[str, tuple[str, str]]:
    """What is spent and what is reserved, by key."""
    return {c.key: (amount_text(c.spent), amount_text(c.reserved)) for c in await of.store.budget_counters()}


@pytest.mark.parametrize("scope", ["org", "agent:payer", "run", "tool:payments.*", "tool:payments.pay"])
async def test_50_calls_at_once_spend_no_more_than_there_is(scope: str) -> None:
    of = gate({scope: {"usd": "1000/day"}})
    ends = await asyncio.gather(*(of.run("payments_pay", pays(n)) for n in range(50)))
    assert sum(isinstance(end.outcome, Succeeded) for end in ends) == 4
    assert len(of.servers["payments"].asked) == 4
    refused = [end for end in ends if isinstance(end.outcome, Failed)]
    assert {short(end).told["budget"]["left"] for end in refused} == {"0"}
    assert list((await counted(of)).values()) == [("1000", "0")]
    assert await of.store.verify()


async def test_the_most_restrictive_budget_wins() -> None:
    of = gate({"org": {"usd": 5000}, "agent:payer": {"usd": 400}, "run": {"calls": 100}})
    assert isinstance((await of.run("payments_pay", pays(1))).outcome, Succeeded)
    assert short(await of.run("payments_pay", pays(2))).told["budget"]["scope"] == "agent:payer"
    assert isinstance((await of.run("payments_pay", pays(3), "other")).outcome, Succeeded)


async def test_a_refusal_is_on_record_and_costs_nothing() -> None:
    of = gate({"org": {"usd": 100}}, PERMIT_ALL, NO_OTHER)
    end = await of.run("payments_pay", pays(1))
    shown = tool_result(end, lambda name: name)
    assert shown["_meta"]["io.toolgate/refusal"]["budget"] == short(end).told["budget"]
    assert "Nothing was done" in shown["content"][0]["text"]
    assert isinstance((await of.run("payments_pay", pays(2, 50), "other")).outcome, Denied)
    assert await counted(of) == {}
    bodies = [json.loads(event.body) for event in await of.events() if event.kind is EventKind.CALL_RECORDED]
    assert [body["outcome"] for body in bodies] == ["failed", "denied"]
    assert of.servers["payments"].asked == []


async def test_a_failed_call_gives_back_and_one_in_doubt_keeps_until_it_is_settled() -> None:
    of = gate({"org": {"usd": 1000, "calls": 100}})
    of.servers["payments"].calls += [
        ConnectorFault("no", code="rejected"),
        answer(isError=True),
        ConnectorFault("no answer", code="timeout"),
        ConnectorFault("no answer", code="timeout"),
    ]
    for number in range(2):
        await of.run("payments_pay", pays(number))
    assert set((await counted(of)).values()) == {("0", "0")}
    doubtful = [await of.run("payments_pay", pays(number)) for number in (2, 3)]
    assert all(isinstance(end.outcome, Unknown) for end in doubtful)
    assert await counted(of) == {"org|calls|": ("0", "2"), "org|usd|": ("0", "500")}
    said = {"by": "os:op", "note": ""}
    await settle_call(of.store, doubtful[0].call.id, StepStatus.SUCCEEDED, said, of.clock.now_ms())
    await settle_call(of.store, doubtful[1].call.id, StepStatus.FAILED, said, of.clock.now_ms())
    assert await counted(of) == {"org|calls|": ("1", "0"), "org|usd|": ("250", "0")}
    assert await of.store.verify()


async def test_a_repeat_is_answered_from_the_record_and_costs_nothing() -> None:
    of = gate({"org": {"usd": 250}})
    first = await of.run("payments_pay", pays(1))
    again = await of.run("payments_pay", pays(1))
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == first.call.id
    assert await counted(of) == {"org|usd|": ("250", "0")}


async def test_reads_count_exactly_where_there_is_a_budget_and_are_not_claimed_where_there_is_none() -> None:
    of = gate({"agent:payer": {"calls": "3/minute"}})
    ends = await asyncio.gather(*(of.run("payments_list", {"limit": n}) for n in range(10)))
    assert sum(isinstance(end.outcome, Succeeded) for end in ends) == 3
    free = await of.run("payments_list", {"limit": 1}, "other")
    assert await of.kinds(free.call.id) == [EventKind.CALL_RECORDED]
    await of.clock.sleep(60)
    assert isinstance((await of.run("payments_list", {"limit": 99})).outcome, Succeeded)


async def test_a_sliding_window_lets_calls_through_as_the_first_leave_it() -> None:
    of = gate({"org": {"calls": "2/60s"}})
    for number in range(2):
        assert isinstance((await of.run("payments_list", {"limit": number})).outcome, Succeeded)
        await of.clock.sleep(20)
    error = short(await of.run("payments_list", {"limit": 7}))
    assert error.retry_after_s is not None
    assert 20 <= error.retry_after_s <= 21
    await of.clock.sleep(error.retry_after_s)
    assert isinstance((await of.run("payments_list", {"limit": 8})).outcome, Succeeded)
    assert isinstance((await of.run("payments_list", {"limit": 9})).outcome, Failed)


async def test_results_and_time_are_measured_and_end_the_next_call() -> None:
    of = gate({"org": {"bytes": 100, "tokens": 1000, "seconds": 10}})

    async def slow(call: Any) -> Any:
        await of.clock.sleep(2.5)
        return {"content": [], "text": "x" * 100}

    of.servers["payments"].calls.append(slow)
    assert isinstance((await of.run("payments_list", {})).outcome, Succeeded)
    assert await counted(of) == {
        "org|bytes|": ("124", "0"),
        "org|tokens|": ("31", "0"),
        "org|seconds|": ("2.5", "0"),
    }
    assert short(await of.run("payments_list", {})).told["budget"]["unit"] == "bytes"


async def test_what_failed_took_no_measured_amount() -> None:
    of = gate({"org": {"bytes": 100, "model_tokens": 100}})
    of.servers["payments"].calls.append(ConnectorFault("no", code="rejected"))
    await of.run("payments_list", {}, meta={USAGE_META: {"input_tokens": 60}})
    assert await counted(of) == {"org|bytes|": ("0", "0"), "org|model_tokens|": ("60", "0")}


async def test_tokens_that_an_agent_reports_are_counted_by_themselves() -> None:
    of = gate({"agent:payer": {"model_tokens": "100/day"}})
    await of.run("payments_list", {}, meta={USAGE_META: {"input_tokens": 60, "output_tokens": 60}})
    assert await counted(of) == {"agent:payer|model_tokens|day": ("120", "0")}
    assert short(await of.run("payments_list", {})).told["budget"]["unit"] == "model_tokens"
    assert "io.toolgate/usage" not in of.servers["payments"].asked[0].meta


async def test_a_policy_sees_what_is_left_and_a_repeat_is_decided_on_what_was() -> None:
    of = gate({"org": {"usd": 500, "calls": 10}}, PERMIT_ALL, SAVING)
    assert isinstance((await of.run("payments_pay", pays(1))).outcome, Succeeded)
    end = await of.run("payments_pay", pays(2, 1))
    assert isinstance(end.outcome, Denied)
    assert end.outcome.decision.policies == ("saving",)
    assert end.call.given.context["base"]["budget"] == {"costLeft": {"__extn": {"fn": "decimal", "arg": "250.0000"}}}
    assert isinstance((await of.run("payments_pay", pays(1))).outcome, Succeeded)
    assert isinstance((await of.run("payments_list", {})).outcome, Succeeded)


async def test_without_a_budget_a_policy_sees_none() -> None:
    of = Gate(PERMIT_ALL, SAVING)
    end = await of.run("payments_pay", pays(1))
    assert isinstance(end.outcome, Succeeded)
    assert end.call.facts.budget is None


async def test_a_call_that_waits_for_a_person_reserves_nothing_until_it_is_made() -> None:
    of = a_gate(*POLICIES, budgets=Budgets(Told({"org": {"usd": 300}}, prices=PRICES)))
    approval = waits((await of.run("payments_pay", pays(1))).outcome)
    assert await counted(of) == {}
    await of.approving.desk.approve("bob", approval)
    assert isinstance((await of.run("payments_pay", pays(1))).outcome, Succeeded)
    assert await counted(of) == {"org|usd|": ("250", "0")}


async def test_an_approved_call_for_which_nothing_is_left_keeps_its_approval() -> None:
    of = a_gate(*POLICIES, budgets=Budgets(Told({"org": {"usd": "300/day"}}, prices=PRICES)))
    for number in (1, 2):
        approval = waits((await of.run("payments_pay", pays(number))).outcome)
        await of.approving.desk.approve("bob", approval)
    await of.run("payments_pay", pays(1))
    short(await of.run("payments_pay", pays(2)))
    assert (await of.approving.approvals.find(approval)).used == 0


async def test_the_101st_record_of_a_run_is_not_updated_and_no_call_updates_too_many_at_once() -> None:
    of = Gate(
        budgets=Budgets(Told({"run": {"records": [100, "60/call"]}}, prices={"payments.pay": {"records": "amount"}}))
    )
    assert isinstance((await of.run("payments_pay", pays(1, 60))).outcome, Succeeded)
    at_once = short(await of.run("payments_pay", pays(2, 61)))
    assert (at_once.told["budget"]["window"], at_once.told["budget"]["needs"]) == ("call", "61")
    assert isinstance((await of.run("payments_pay", pays(3, 40))).outcome, Succeeded)
    assert short(await of.run("payments_pay", pays(4, 1))).told["budget"]["left"] == "0"
    assert len(of.servers["payments"].asked) == 2
    assert await of.store.verify()


async def test_what_goes_beyond_a_volume_is_made_once_a_person_has_looked_at_it() -> None:
    volume = ASK.replace("unless", "when { context.base has budget && context.base.budget.callsLeft <= 8 } unless")
    of = a_gate(PERMIT_ALL, volume, LEADS, budgets=Budgets(Told({"agent:payer": {"calls": "10/day"}})))
    for number in (1, 2):
        assert isinstance((await of.run("payments_pay", pays(number))).outcome, Succeeded)
    await of.approving.desk.approve("bob", waits((await of.run("payments_pay", pays(3))).outcome))
    assert isinstance((await of.run("payments_pay", pays(3))).outcome, Succeeded)
    waits((await of.run("payments_pay", pays(4))).outcome)
