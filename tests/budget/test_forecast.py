"""What the coming days will cost: right on average, within its bounds four times of five, and silent on little."""

import random

from gateway.budget.forecast import LEAST_DAYS, Forecast, forecast


def test_what_is_the_same_every_day_goes_on_like_that() -> None:
    assert forecast([250] * LEAST_DAYS, 30) == Forecast(30, 7500, 7500, 7500)


def test_too_few_days_foretell_nothing() -> None:
    assert forecast([250] * (LEAST_DAYS - 1), 30) is None


def test_nothing_costs_less_than_nothing() -> None:
    found = forecast([0, 0, 0, 0, 0, 0, 10_000_000], 7)
    assert found is not None
    assert found.low == 0
    assert found.low < found.expected < found.high


def test_four_of_five_outcomes_are_within_the_bounds() -> None:
    chance, rounds, within = random.Random(7), 600, 0
    for _ in range(rounds):
        days = [round(chance.gauss(1_000_000, 300_000)) for _ in range(14 + 30)]
        found = forecast(days[:14], 30)
        assert found is not None
        within += found.low <= sum(days[14:]) <= found.high
    assert 0.75 < within / rounds < 0.85
