"""A refusal says which budget, how much is left, and when there is enough again."""

import pytest

from gateway.budget.refusal import exceeded, frees_ms
from gateway.model.bill import Charge
from gateway.model.limit import MILLION
from gateway.store.budgets import BudgetCounter, Shortage

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z
DAY = NOW - 8 * 3_600_000


def short(key: str = "agent:payer|usd|day", needs: int = 250, used: int = 1900, most: int = 2000) -> Shortage:
    unit = key.split("|")[1]
    charge = Charge(key, unit, DAY, DAY, most * MILLION, needs * MILLION, needs * MILLION)
    return Shortage(charge, (BudgetCounter(key, DAY, used * MILLION, 0),) if used else ())


def test_it_says_what_is_left_what_is_needed_and_when_it_renews() -> None:
    fault = exceeded([short()], NOW)
    assert fault.message == (
        "The budget of agent payer is 2000 usd per day: 100 left, this call needs 250. Nothing was done. There is "
        "enough again at 2027-01-16T00:00:00Z, or ask the operator of the gateway for more."
    )
    assert (fault.code, fault.retryable, fault.retry_after_s) == ("budget_exceeded", True, 16 * 3600.0)
    assert fault.told["budget"] == {
        "scope": "agent:payer",
        "unit": "usd",
        "window": "day",
        "limit": "2000",
        "left": "100",
        "needs": "250",
        "freesAt": "2027-01-16T00:00:00Z",
    }


def test_a_call_larger_than_the_budget_never_fits() -> None:
    fault = exceeded([short(needs=2001, used=0)], NOW)
    assert "more than the whole budget" in fault.message
    assert (fault.retryable, fault.retry_after_s, fault.told["budget"]["freesAt"]) == (False, None, None)


def test_a_budget_without_a_window_does_not_renew() -> None:
    fault = exceeded([short("org|calls|", 1, 5, 5)], NOW)
    assert fault.message.startswith("The budget of the organisation is 5 calls: 0 left, this call needs 1.")
    assert "does not renew" in fault.message
    assert (fault.retryable, fault.retry_after_s) == (False, None)


def test_an_overdrawn_budget_has_nothing_left_and_what_is_measured_is_not_said_to_be_needed() -> None:
    fault = exceeded([short("run:run_1|bytes|day", 1, 7, 5)], NOW)
    assert fault.message.startswith("The budget of run run_1 is 5 bytes per day: 0 left. Nothing was done.")


def test_of_several_the_one_that_frees_last_is_named() -> None:
    minute, day, ever = short("org|calls|minute", 1, 5, 5), short(), short("tool:a|usd|", 1, 5, 5)
    assert exceeded([day, minute], NOW).told["budget"]["scope"] == "agent:payer"
    assert exceeded([ever, day, minute], NOW).told["budget"]["scope"] == "tool:a"


def test_a_sliding_window_frees_when_enough_has_left_it() -> None:
    key, minute = "org|calls|60s", 60_000
    charge = Charge(key, "calls", NOW, NOW - minute - 998, 5 * MILLION, 2 * MILLION, 2 * MILLION)
    counters = tuple(BudgetCounter(key, NOW - 10_000 * n, 2 * MILLION, 0) for n in (2, 1))
    assert frees_ms(Shortage(charge, counters)) == NOW - 20_000 + minute + 999


@pytest.mark.parametrize("used", [0, 1])
def test_what_never_frees_by_itself_is_told_so(used: int) -> None:
    assert frees_ms(short("org|calls|", 1, used, 0)) is None
