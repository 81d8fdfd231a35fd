"""Waiting times and foreign text, read with care."""

from typing import Any

import pytest

from gateway.connector import Unavailable, parse_retry_after, plain

NOW_MS = 1_800_000_000_000  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        (2.5, 2.5),
        (-3, 0.0),
        (float("nan"), None),
        (float("inf"), None),
        ("999999999999999999999", 86_400.0),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0),
        ("Friday, 15-Jan-27 08:01:00 GMT", 60.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2999 07:00:00 GMT", 86_400.0),
        ("", None),
        ("-5", None),
        ("1e3", None),
        ("soon", None),
        ("Fri, 99 Jan 2027 07:00:00 GMT", None),
        ("٣", None),
    ],
)
def test_a_wish_to_wait_is_read_in_both_forms(header: Any, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW_MS) == seconds


def test_a_connector_hands_over_the_header_as_it_came() -> None:
    assert Unavailable(retry_after_s="7").retry_after_s == 7.0
    assert Unavailable().retry_after_s is None


def test_foreign_text_is_one_printable_line_of_bounded_length() -> None:
    assert plain("a\r\n\x1b[31m\u202eb\tc\x00") == "a [31m b c"
    assert plain("x" * 600) == "x" * 499 + "…"
    assert plain("x" * 10, 3) == "xx…"
    assert plain(7) == "7"
