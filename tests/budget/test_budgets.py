"""What a call is charged: every budget that applies to it, and what the agent itself says only where it may."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.budget.budgets import USAGE_META, Budgets, Told
from gateway.model.bill import NO_BILL, Charge
from gateway.model.call import Call
from gateway.model.errors import LimitFault, RequestFault
from gateway.model.identity import Identity
from gateway.model.limit import MILLION, amount_text
from gateway.model.operation import operation
from gateway.store.budgets import BudgetCounter
from tests.pipeline.gate import PAYMENT, request

NOW = 1_800_000_000_000
ALL: Mapping[str, Mapping[str, Any]] = {
    "run": {"calls": 5},
    "tool:payments.*": {"usd": 50},
    "agent:payer": {"usd": "2000/day", "calls": ["60/minute", 1000]},
    "team:finance": {"usd": 5000},
    "team:other": {"usd": 1},
    "agent:somebody": {"usd": 1},
    "tool:files.*": {"usd": 1},
    "org": {"calls": 9},
}
PRICES = {"payments.pay": {"usd": "amount"}}


def call(tool: str = "payments.pay", arguments: Any = None, meta: Any = None, teams: tuple[str, ...] = ()) -> Call:
    arguments = PAYMENT if arguments is None else arguments
    made = Call("c1", request(tool, arguments, meta=meta or {}), NOW)
    made.identity = Identity("payer", "token", "t", teams=teams)
    made.tool = operation(*tool.split(".", 1))
    made.arguments = arguments
    return made


def budgets(allowances: Mapping[str, Any] = ALL, prices: Mapping[str, Any] = PRICES, **more: Any) -> Budgets:
    return Budgets(Told(allowances, {"payer": ["finance"]}, prices, **more))


def charges(of: Budgets, made: Call) -> list[tuple[str, str, str]]:
    found: tuple[Charge, ...] = of.bill(made, "run_1", NOW).charges
    return [(each.key, amount_text(each.amount), amount_text(each.needs)) for each in found]


def test_every_budget_that_applies_is_charged_from_the_widest_to_the_narrowest() -> None:
    assert charges(budgets(), call()) == [
        ("org|calls|", "1", "1"),
        ("team:finance|usd|", "250", "250"),
        ("agent:payer|usd|day", "250", "250"),
        ("agent:payer|calls|minute", "1", "1"),
        ("agent:payer|calls|", "1", "1"),
        ("run:run_1|calls|", "1", "1"),
        ("tool:payments.*|usd|", "250", "250"),
    ]


def test_the_teams_of_a_verified_identity_count_too() -> None:
    keys = [key for key, _, _ in charges(budgets(), call(teams=("other",)))]
    assert keys[1:3] == ["team:finance|usd|", "team:other|usd|"]


def test_a_call_without_a_price_takes_no_money() -> None:
    assert [key for key, _, _ in charges(budgets(), call("payments.list")) if "usd" in key] == []


def test_without_budgets_and_prices_there_is_no_bill() -> None:
    assert Budgets().bill(call(), "run_1", NOW) is NO_BILL


def test_a_budget_in_another_unit_than_its_price_is_not_charged() -> None:
    assert charges(budgets({"org": {"eur": 5, "usd": 300}}), call()) == [("org|usd|", "250", "250")]


def test_the_gateways_own_tools_cost_nothing() -> None:
    assert budgets(own=frozenset({"payments"})).bill(call(), "run_1", NOW) is NO_BILL


def test_a_price_is_known_without_any_budget() -> None:
    bill = budgets({}).bill(call(), "run_1", NOW)
    assert (bill.cost, bill.charges) == ({"usd": 250 * MILLION}, ())


@pytest.mark.parametrize("amount", [None, -5, "five", True, {"a": 1}])
def test_an_amount_that_a_budget_cannot_count_is_refused_and_says_which(amount: Any) -> None:
    with pytest.raises(RequestFault, match=r"payments.pay has to say `amount`.*budget of usd"):
        budgets().bill(call(arguments={"amount": amount}), "run_1", NOW)
    assert budgets({"org": {"calls": 5}}).bill(call(arguments={"amount": amount}), "run_1", NOW).cost == {}


def test_a_nested_amount_and_the_elements_of_a_list_are_counted() -> None:
    prices = {"crm.update": {"usd": "order.total", "records": "ids", "fee": 0.25}}
    of = budgets({"org": {"usd": 9, "records": 100, "fee": 1}}, prices)
    asked = {"order": {"total": "7.5"}, "ids": [1, 2, 3]}
    assert charges(of, call("crm.update", asked)) == [
        ("org|usd|", "7.5", "7.5"),
        ("org|records|", "3", "3"),
        ("org|fee|", "0.25", "0.25"),
    ]


def test_what_is_known_only_afterwards_needs_something_to_be_left() -> None:
    told = {"org": {"bytes": "9000/hour", "tokens": 5, "seconds": 60}}
    assert [(amount, needs) for _, amount, needs in charges(budgets(told), call())] == [("0", "1")] * 3


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 100, "output_tokens": 20}, "120"),
        ({"input_tokens": 100}, "100"),
        ({"input_tokens": -100, "output_tokens": 20}, "20"),
        ({"input_tokens": "100", "output_tokens": True}, "0"),
        ({"input_tokens": 10**40}, "1000000000"),
        ([1], "0"),
        (None, "0"),
    ],
)
def test_tokens_that_an_agent_reports_are_charged_and_junk_is_not(usage: Any, tokens: str) -> None:
    of = budgets({"org": {"model_tokens": 10**6}})
    assert charges(of, call(meta={USAGE_META: usage})) == [("org|model_tokens|", tokens, "1")]


def test_what_is_left_is_that_of_the_tightest_budget() -> None:
    of = budgets()
    bill = of.bill(call(), "run_1", NOW)
    day = next(charge for charge in bill.charges if charge.key == "agent:payer|usd|day")
    counters = [
        BudgetCounter("org|calls|", 0, 3 * MILLION, MILLION),
        BudgetCounter("agent:payer|usd|day", day.start_ms, 1990 * MILLION, 0),
        BudgetCounter("agent:payer|usd|day", day.start_ms - 1, 1990 * MILLION, 0),
        BudgetCounter("run:run_1|calls|", 0, MILLION, 0),
    ]
    left = of.left(bill, counters)
    assert (left.calls, left.cost) == (4, "10.0000")


def test_what_is_overdrawn_is_below_zero_and_what_has_no_limit_is_large() -> None:
    of = budgets({"org": {"usd": 1, "bytes": 100}})
    bill = of.bill(call(), "run_1", NOW)
    left = of.left(bill, [BudgetCounter("org|usd|", 0, 2 * MILLION + 50, 0)])
    assert (left.calls, left.cost) == (2**63 - 1, "-1.0001")
    assert of.left(of.bill(call("payments.list"), "run_1", NOW), []).cost == "922337203685477.0"


@pytest.mark.parametrize(("unit", "asked"), [("records", {"ids": [*range(101)]}), ("usd", {"usd": 250.01})])
def test_one_call_takes_no_more_than_one_may_and_nothing_is_counted(unit: str, asked: dict[str, object]) -> None:
    prices = {"crm.update": {"records": "ids", "usd": "usd"}}
    of = budgets({"agent:payer": {"records": "100/call", "usd": ["250/call", "1000/day"]}}, prices)
    whole = {"ids": [*range(100)], "usd": 250}
    assert [key for key, _, _ in charges(of, call("crm.update", whole))] == ["agent:payer|usd|day"]
    with pytest.raises(LimitFault) as refused:
        charges(of, call("crm.update", {**whole, **asked}))
    assert refused.value.code == "budget_exceeded"
    assert refused.value.told["budget"]["window"] == "call"
    assert f"{unit} per call" in refused.value.message
    assert "make a smaller call" in refused.value.message
