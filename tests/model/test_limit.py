"""Limits, prices and windows: exact amounts, and no moment that belongs to two parts of time."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.limit import (
    BEYOND,
    MILLION,
    Limit,
    Price,
    Window,
    amount_text,
    checked_limits,
    checked_prices,
    limit_from,
    millionths,
    price_from,
    window_from,
)

WRITTEN = ("minute", "hour", "day", "week", "month", "60s", "90s", "15m", "24h", "7d")
MOMENTS = st.integers(0, 4_000_000_000_000)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0, 0),
        (250, 250 * MILLION),
        (0.1, 100_000),
        (0.30000000000000004, 300_001),  # finer than a millionth: rounded up, never down
        ("250.00", 250 * MILLION),
        ("0.0000001", 1),
        ("999999999999999999.0000000000000000001", 10**24 - MILLION + 1),
        (10**18, BEYOND),
        (10**4000, BEYOND),
        (1e300, BEYOND),
        ("1" * 30, BEYOND),
        (-1, None),
        (-0.5, None),
        ("-1", None),
        ("1e9", None),
        ("", None),
        ("٣", None),
        (True, None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        ([1], None),
    ],
)
def test_an_amount_is_exact_in_millionths_or_no_amount(value: Any, amount: int | None) -> None:
    assert millionths(value) == amount


@given(st.decimals(0, 10**17, places=6))
def test_what_has_six_places_is_exact_both_ways(number: Decimal) -> None:
    amount = millionths(f"{number:f}")
    assert amount is not None
    assert Decimal(amount) / MILLION == number
    assert Decimal(amount_text(amount)) == number


@pytest.mark.parametrize(
    ("unit", "text", "limit"),
    [
        ("usd", "2000/day", Limit("usd", 2000 * MILLION, Window("day"))),
        ("calls", "60 / 90s", Limit("calls", 60 * MILLION, Window("90s", 90_000))),
        ("usd", 0.5, Limit("usd", 500_000)),
        ("calls", 500, Limit("calls", 500 * MILLION)),
        ("calls", 0, Limit("calls", 0)),
    ],
)
def test_a_limit_is_read_as_written(unit: str, text: Any, limit: Limit) -> None:
    assert limit_from(unit, text) == limit


@pytest.mark.parametrize(
    ("unit", "text", "says"),
    [
        ("usd", "much", "no limit"),
        ("usd", -1, "no limit"),
        ("usd", True, "no limit"),
        ("usd", 10**13, "no limit"),
        ("usd", "5/", "no limit"),
        ("seconds", "5/call", "is not known before"),
        ("calls", "5/call", "is not known before"),
        ("usd", "5/fortnight", "no window"),
        ("usd", "5/0s", "no window"),
        ("USD", "5/day", "no unit"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(unit: str, text: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        limit_from(unit, text)


def test_one_unit_may_have_several_windows_and_each_once() -> None:
    told = {"calls": ["60/minute", "1000/day"], "usd": "5/day"}
    assert checked_limits(told) is told
    with pytest.raises(ValueError, match="same window"):
        checked_limits({"calls": ["60/minute", "70/minute"]})


def test_a_price_is_a_number_or_the_argument_that_holds_it() -> None:
    assert price_from("usd", 0.005) == Price("usd", 5000)
    assert price_from("usd", "0.005") == Price("usd", 5000)
    assert price_from("records", "order.lines") == Price("records", path="order.lines")
    told = {"usd": "amount"}
    assert checked_prices(told) is told


@pytest.mark.parametrize(
    ("unit", "text"), [("calls", 2), ("usd", "a b"), ("usd", "a..b"), ("usd", 10**13), ("usd", -1), ("a|b", 1)]
)
def test_a_price_that_cannot_be_meant_is_refused(unit: str, text: Any) -> None:
    with pytest.raises(ValueError, match=r"is no|counted by the gateway"):
        checked_prices({unit: text})


@given(st.sampled_from(WRITTEN), MOMENTS)
def test_every_moment_counts_in_one_part_of_time_until_that_frees(name: str, now: int) -> None:
    window = window_from(name)
    start = window.start_ms(now)
    frees = window.frees_ms(start)
    assert frees is not None
    assert start <= now < frees
    assert window.since_ms(now) <= start
    assert window.since_ms(frees - 1) <= start < window.since_ms(frees)


@given(st.sampled_from([name for name in WRITTEN if name[0].isdigit()]), MOMENTS)
def test_a_sliding_window_forgets_nothing_too_early_and_little_late(name: str, now: int) -> None:
    window = window_from(name)
    frees = window.frees_ms(window.start_ms(now))
    assert frees is not None
    late = frees - (now + window.sliding_ms)
    assert 0 <= late <= window.sliding_ms / 60


@pytest.mark.parametrize(
    ("name", "start", "frees"),
    [
        ("minute", "2026-11-17T09:30:00", "2026-11-17T09:31:00"),
        ("hour", "2026-11-17T09:00:00", "2026-11-17T10:00:00"),
        ("day", "2026-11-17T00:00:00", "2026-11-18T00:00:00"),
        ("week", "2026-11-16T00:00:00", "2026-11-23T00:00:00"),
        ("month", "2026-11-01T00:00:00", "2026-12-01T00:00:00"),
    ],
)
def test_a_calendar_window_begins_anew_where_people_expect(name: str, start: str, frees: str) -> None:
    window = window_from(name)
    assert window.start_ms(at("2026-11-17T09:30:59.999")) == window.since_ms(at("2026-11-17T09:30:59")) == at(start)
    assert window.frees_ms(at(start)) == at(frees)


def test_december_is_followed_by_january() -> None:
    assert window_from("month").frees_ms(at("2026-12-01T00:00:00")) == at("2027-01-01T00:00:00")


def test_a_window_without_a_name_never_ends() -> None:
    window = window_from("")
    assert (window.start_ms(at("2026-11-17T00:00:00")), window.since_ms(7), window.frees_ms(0)) == (0, 0, None)
