"""What a condition of a standing approval holds for, and what it never does."""

from typing import Any

import pytest

from gateway.approval.shown import laid_out, visible
from gateway.approval.standing import condition_from
from gateway.approval.values import ApprovalRefused

ARGUMENTS = {"amount": 100, "payee": "ACME", "urgent": True, "to": {"country": "AT"}, "note": "a <= b", "big": 2**70}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("amount <= 100", True),
        ("amount<100", False),
        ("amount >= 100.0", True),
        ("amount > 100", False),
        ("amount > 99.99", True),
        ("amount == 100.0", True),
        ('amount == "100"', False),
        ("amount != 100", False),
        ("amount != 7", True),
        ("payee == ACME", True),
        ('payee == "acme"', False),
        ('payee in ["ACME", "Foo"]', True),
        ("payee in []", False),
        ("payee < 5", False),
        ("urgent == true", True),
        ("urgent == 1", False),
        ("urgent <= 1", False),
        ("to.country == AT", True),
        ("to.city == Graz", False),
        ("to.city != Graz", False),
        ("nothing <= 5", False),
        ("payee.name == x", False),
        ('note == "a <= b"', True),
        ("big <= 1180591620717411303424", True),
        ("big < 1180591620717411303424", False),
    ],
)
def test_a_condition_holds_for_exactly_what_it_says(text: str, holds: bool) -> None:
    assert condition_from(text).holds(ARGUMENTS) is holds


@pytest.mark.parametrize("text", ["", "amount", "amount <= much", "payee in ACME", "<= 5", "amount = 5", "\ud800 < x"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ApprovalRefused):
        condition_from(text)


def test_a_condition_reads_as_it_was_written() -> None:
    assert str(condition_from('payee in ["ACME"]')) == 'payee in ["ACME"]'


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\x1b[31m", "\\u001b[31m"),
        ("a\u00a0b\u2003c", "a\\u00a0b\\u2003c"),
        ("\u3164\u115f\u2800", "\\u3164\\u115f\\u2800"),
        ("\U000e0041\U000e0101\ufe0f", "\\U000e0041\\U000e0101\\ufe0f"),
        ("\ue000", "\\ue000"),
        ("Grüße, 東京 – 5 €", "Grüße, 東京 – 5 €"),
    ],
)
def test_every_character_can_be_seen(hidden: str, shown: str) -> None:
    assert visible(hidden) == shown


def test_a_value_is_laid_out_whole_and_in_one_order() -> None:
    value: Any = {"b": [1, {"z": None, "a": "\u202e"}], "a": "x" * 3000, "\U0001f600": 1, "\uffff": 2}
    lines = laid_out(value)
    assert lines[1] == f'  "a": "{"x" * 3000}",'
    assert '      "a": "\\u202e",' in lines
    assert lines.index('  "😀": 1,') < lines.index('  "\\uffff": 2')  # by UTF-16, as RFC 8785 has it
