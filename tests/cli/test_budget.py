"""`toolgate budget`: what is allowed, used and left, where the money went, and what the record saved."""

import random
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.budget.telemetry import ModelUsage
from gateway.cli.loaded import load_now
from gateway.model.errors import ConnectorFault
from gateway.model.identity import Identity
from gateway.pipeline.usage import UsageReports
from gateway.rulebook import budgets_of
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer

BUDGETS = """
budgets:
  org: { usd: 2000, calls: 10/week }
  runs: { usd: 600 }
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House.with_policies(tmp_path)
    config = (tmp_path / "gateway.yaml").read_text("utf-8")
    config = config.replace("effect: irreversible,", "effect: irreversible, cost: { usd: amount },")
    house.configure(config.replace("finance@acme.example,", "finance@acme.example, budget: { usd: 750 },") + BUDGETS)
    return house


def spend(house: House, *answers: Any) -> None:
    """Pay as often as there are answers, 250 each, and repeat the first payment."""
    budgets = budgets_of(load_now(house.path / "gateway.yaml").config, ["payments.pay"])

    async def work(store: SqliteStore) -> None:
        durable: Any = store
        gate = Gate(PERMIT_ALL, store=durable, budgets=budgets)
        gate.servers["payments"].calls += answers
        for number in (*range(len(answers)), 0):
            await gate.run("payments_pay", {**PAYMENT, "payment_id": f"p_{number}"}, run="job")

    house.store(work)


def test_it_shows_what_is_spent_reserved_and_left_by_scope(house: House) -> None:
    spend(house, answer(), ConnectorFault("no answer", code="timeout"), answer(isError=True))
    shown = house.json("budget", "--since", "2020-01-01")
    rows = {(row["scope"].partition("_")[0], row["unit"]): row for row in shown["budgets"]}
    assert list(rows) == [("org", "usd"), ("org", "calls"), ("agent:payer", "usd"), ("run:run", "usd")]
    money = {key: (row["limit"], row["spent"], row["reserved"], row["left"]) for key, row in rows.items()}
    assert money["org", "usd"] == ("2000", "250", "250", "1500")
    assert money["agent:payer", "usd"] == ("750", "250", "250", "250")
    assert money["run:run", "usd"] == ("600", "250", "250", "100")
    assert rows["org", "usd"]["frees"] is None
    assert rows["org", "calls"]["per"] == "week"
    assert shown["costs"] == [{"agent": "payer", "tool": "payments.pay", "unit": "usd", "cost": "250"}]
    assert shown["saved_by_resume"] == {"calls": "1", "usd": "250"}


def test_the_sum_of_the_ledger_is_the_invoice_of_the_server_also_across_a_change_of_price(house: House) -> None:
    """The server bills what it carried out, and knows nothing of who repeated, failed or was refused."""
    chance = random.Random(20261128)
    invoice = {"usd": Decimal(0), "fee": Decimal(0)}
    config = (house.path / "gateway.yaml").read_text("utf-8").replace(BUDGETS, "").replace(", budget: { usd: 750 }", "")

    async def work(store: SqliteStore) -> None:
        durable: Any = store
        gate = Gate(PERMIT_ALL, store=durable)
        for fee in ("0.005", "0.0071"):
            house.configure(config.replace("cost: { usd: amount }", f"cost: {{ usd: amount, fee: {fee} }}"))
            budgets = budgets_of(load_now(house.path / "gateway.yaml").config, ["payments.pay"])
            gate.rules.current = replace(gate.rules.current, budgets=budgets)
            for number in range(12):
                amount = chance.choice(["12.34", "0.01", "99.999999"])
                fails = chance.random() < 0.3
                gate.servers["payments"].calls.append(answer({"receipt": "r"}, isError=fails))
                paying = {**PAYMENT, "payment_id": f"p_{fee}_{number}", "amount": float(amount)}
                for _ in range(1 if fails else 2):  # the second one is answered from the record
                    await gate.run("payments_pay", paying, run="job")
                if not fails:
                    invoice["usd"] += Decimal(amount)
                    invoice["fee"] += Decimal(fee)

    house.store(work)
    costs = house.json("budget", "--since", "2020-01-01")["costs"]
    assert {row["unit"]: Decimal(row["cost"]) for row in costs} == invoice


def test_it_says_the_same_to_people(house: House) -> None:
    spend(house, answer())
    told = house.run("budget", "--since", "2020-01-01").output
    assert "Saved by resume: 1 calls, 250 usd" in told
    assert "agent:payer" in told
    assert "payments.pay" in told


def test_it_foretells_a_month_from_days_on_record_and_shows_what_models_took(house: House) -> None:
    days = 10
    written = (house.path / "gateway.yaml").read_text("utf-8")
    house.configure(written.replace(BUDGETS, "").replace("usd: 750", "usd: 9000"))
    budgets = budgets_of(load_now(house.path / "gateway.yaml").config, ["payments.pay"])
    clock = FakeClock(int(time.time() * 1000) - days * 24 * 3600 * 1000)

    async def work(store: SqliteStore) -> None:
        durable: Any = store
        gate = Gate(PERMIT_ALL, store=durable, clock=clock, budgets=budgets)
        gate.servers["payments"].calls += [answer()] * days
        reports = UsageReports(durable, gate.rules, clock, gate.redactor.record)
        for number in range(days):
            await gate.run("payments_pay", {**PAYMENT, "payment_id": f"p_{number}"}, run="job")
            await reports.take(Identity("payer", "token", "t1"), [ModelUsage(f"{number:x}", "m-1", 900, 100)])
            await clock.sleep(24 * 3600)

    house.store(work)
    shown = house.json("budget")
    assert shown["forecast"] == [{"unit": "usd", "days": 30, "expected": "7500", "low": "7500", "high": "7500"}]
    assert shown["models"] == [{"agent": "payer", "model": "m-1", "input_tokens": 9000, "output_tokens": 1000}]
    told = house.run("budget").output
    assert "The next 30 days: 7500 usd, with a likelihood of 80 % from 7500 to 7500" in told
    assert "9000" in told


def test_without_budgets_it_says_so(tmp_path: Path) -> None:
    assert "no budgets" in House.with_policies(tmp_path).run("budget").output


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("usd: 2000", "usd: lots", "no limit"),
        ("10/week", "10/fortnight", "no window"),
        ("usd: amount", "calls: 2", "counted by the gateway itself"),
        ("usd: 750", "usd: [1/day, 2/day]", "same window"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_told_with_its_line(house: House, old: str, new: str, says: str) -> None:
    house.configure((house.path / "gateway.yaml").read_text("utf-8").replace(old, new))
    refused = house.run("budget")
    assert refused.exit_code == 1
    assert says in refused.output
    assert "gateway.yaml:" in refused.output
