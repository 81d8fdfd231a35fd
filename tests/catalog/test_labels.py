"""Answers that are not everything, or not new enough."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from gateway.catalog.answers import IncompleteRule, StaleRule
from gateway.catalog.labels import is_incomplete, is_stale

NOW = 1_800_000_000_000
PAGE = IncompleteRule(more=["next", "page.left"], required=["total", "rows.*.id"], count={"rows": "total"})
WHOLE: dict[str, Any] = {"total": 2, "rows": [{"id": 1}, {"id": "b"}], "next": None, "page": {"left": 0}}


def incomplete(value: Any, rule: IncompleteRule = PAGE) -> bool:
    return is_incomplete(rule, {"structuredContent": value})


def test_an_answer_that_is_everything_is_not_labelled() -> None:
    assert not incomplete(WHOLE)
    assert not incomplete({"total": 0, "rows": []})


@pytest.mark.parametrize(
    "change",
    [
        {"next": "p2"},
        {"next": True},
        {"next": {"cursor": ""}},
        {"page": {"left": 3}},
        {"total": None},
        {"rows": [{"id": 1}, {}]},
        {"rows": [{"id": 1}, {"id": None}]},
        {"total": 3},
        {"total": True},
        {"rows": {"id": 1}},
        {"rows": None},
    ],
)
def test_a_truncated_page_a_null_and_a_wrong_count_are_incomplete(change: dict[str, Any]) -> None:
    assert incomplete({**WHOLE, **change})


def test_an_answer_that_cannot_be_read_is_incomplete_where_anything_is_declared_of_its_fields() -> None:
    for unread in ({"content": [{"type": "text", "text": "five orders"}]}, {"content": []}, {"content": ["x"]}):
        assert is_incomplete(PAGE, unread)
        assert is_incomplete(IncompleteRule(more=["next"]), unread)
        assert not is_incomplete(IncompleteRule(), unread)


def test_an_answer_whose_only_text_is_json_is_read_as_that() -> None:
    text = {"type": "text", "text": json.dumps(WHOLE)}
    assert not is_incomplete(PAGE, {"content": [text]})
    assert is_incomplete(PAGE, {"content": [text, text]})


def at(**ago: float) -> datetime:
    return datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(**ago)


@pytest.mark.parametrize(
    ("value", "stale"),
    [
        (at(minutes=10).isoformat(), False),
        (at(minutes=10, seconds=1).isoformat(), True),
        (at(minutes=1).astimezone(timezone(timedelta(hours=5))).isoformat(), False),
        (at(minutes=1).replace(tzinfo=None).isoformat(), True),
        (NOW / 1000 - 60, False),
        (NOW - 60_000, False),
        (NOW - 3_600_000, True),
        (NOW / 1000 - 3600, True),
        ("yesterday", True),
        (None, True),
        (True, True),
    ],
)
def test_an_answer_is_stale_when_it_was_observed_too_long_ago_or_nobody_knows_when(value: Any, stale: bool) -> None:
    rule = StaleRule(at="seen.at", after="10m")
    assert is_stale(rule, {"structuredContent": {"seen": {"at": value}}}, NOW) is stale


def test_the_oldest_of_several_times_counts_and_none_at_all_where_the_field_is_absent() -> None:
    rule = StaleRule(at="rows.*.seen", after="10m")
    rows = [{"seen": NOW}, {"seen": NOW - 3_600_000}]
    assert is_stale(rule, {"structuredContent": {"rows": rows}}, NOW)
    assert not is_stale(rule, {"structuredContent": {"rows": rows[:1]}}, NOW)
    assert is_stale(rule, {"structuredContent": {"rows": [{}]}}, NOW)
    assert is_stale(rule, {"content": []}, NOW)
