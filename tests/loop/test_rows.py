"""Rows of calls, counted with a few numbers and nothing of the calls themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.loop.rows import Kind, Row, Rows

KEY = ("run_1", "payer")


def count(rows: Rows, calls: str, answers: str | None = None, *, key: tuple[str, str] = KEY, at: int = 0) -> Row:
    """Count calls of one tool, each a letter; their answers are letters too, or all different."""
    row = Row(Kind.SAME, 0)
    for number, call in enumerate(calls):
        answer = 1000 + number if answers is None else ord(answers[number])
        row = rows.saw(key, (call, "tool"), answer, (at, at - 100))
    return row


@pytest.mark.parametrize(
    ("calls", "answers", "row"),
    [
        ("A", None, Row(Kind.SAME, 1)),
        ("AAAA", None, Row(Kind.SAME, 4)),
        ("ABAA", None, Row(Kind.SAME, 2)),
        ("AB", None, Row(Kind.SAME, 1)),
        ("ABA", None, Row(Kind.SAME, 1)),
        ("ABAB", None, Row(Kind.SWING, 4)),
        ("CABABA", None, Row(Kind.SWING, 5)),
        ("AABABA", None, Row(Kind.SWING, 5)),
        ("ABABC", None, Row(Kind.SAME, 1)),
        ("ABCABC", None, Row(Kind.SAME, 1)),
        ("ABABB", None, Row(Kind.SAME, 2)),
        ("ABCD", "xxxx", Row(Kind.STUCK, 4)),
        ("ABCD", "yxxx", Row(Kind.STUCK, 3)),
        ("AABC", "xxxx", Row(Kind.STUCK, 4)),
        ("AAA", "xxx", Row(Kind.SAME, 3)),
        ("ABCD", "xyxy", Row(Kind.SAME, 1)),
    ],
)
def test_the_longest_row_that_a_call_belongs_to(calls: str, answers: str | None, row: Row) -> None:
    assert count(Rows(), calls, answers) == row


def test_answers_that_say_nothing_are_never_alike() -> None:
    rows = Rows()
    for call in "ABCD":
        row = rows.saw(KEY, (call, "tool"), None, (0, -100))
    assert row == Row(Kind.SAME, 1)


@pytest.mark.parametrize(
    ("calls", "answers", "following", "row"),
    [
        ("AAA", None, "A", Row(Kind.SAME, 3)),
        ("AAA", None, "B", Row(Kind.STUCK, 0)),
        ("ABAB", None, "A", Row(Kind.SWING, 4)),
        ("ABAB", None, "B", Row(Kind.SWING, 4)),
        ("ABABBBBB", None, "B", Row(Kind.SAME, 5)),
        ("ABA", None, "B", Row(Kind.SWING, 0)),
        ("ABAB", None, "C", Row(Kind.STUCK, 0)),
        ("ABC", "xxx", "D", Row(Kind.STUCK, 3)),
        ("", None, "A", Row(Kind.SAME, 0)),
    ],
)
def test_what_a_call_would_lengthen_is_known_before(calls: str, answers: str | None, following: str, row: Row) -> None:
    rows = Rows()
    count(rows, calls, answers)
    assert rows.ahead(KEY, following, "tool", -100) == row
    assert rows.ahead(("run_2", "payer"), following, "tool", -100).times == 0


def test_a_row_ends_with_time_and_each_agent_in_each_run_has_its_own() -> None:
    rows = Rows()
    count(rows, "AAA")
    assert rows.ahead(KEY, "A", "tool", 1).times == 0
    assert count(rows, "A", at=101) == Row(Kind.SAME, 1)
    assert count(rows, "A", key=("run_1", "other")) == Row(Kind.SAME, 1)


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    rows = Rows(kept=2)
    for number in range(5):
        count(rows, "A", key=(f"run_{number}", "payer"))
    assert len(rows) == 2
    assert count(rows, "A", key=("run_4", "payer")) == Row(Kind.SAME, 2)
    assert count(rows, "A", key=("run_0", "payer")) == Row(Kind.SAME, 1)


@given(st.lists(st.sampled_from("ABC"), max_size=30))
def test_the_same_and_the_swinging_are_counted_as_reading_the_whole_row_would(calls: list[str]) -> None:
    rows = Rows()
    for end in range(1, len(calls) + 1):
        row = rows.saw(KEY, (calls[end - 1], "tool"), None, (0, -100))
        last = calls[:end]
        same = next((n for n in range(end) if last[-1 - n] != last[-1]), end)
        swing = 1
        while swing < end and last[-1 - swing] != last[-swing] and (swing < 2 or last[-1 - swing] == last[1 - swing]):
            swing += 1
        expected = max(same, swing if swing >= 4 else 0)
        assert row.times == expected
