"""What is asserted of an answer."""

from typing import Any

import pytest

from gateway.catalog.assertions import assertions


@pytest.mark.parametrize(
    ("wanted", "holds", "breaks"),
    [
        ("paid", ["paid"], ["Paid", None, 1, ["paid"]]),
        (250, [250, 250.0], ["250", 251, True]),
        (True, [True], [1, "true", False]),
        (["paid", 7], ["paid", 7.0], ["open", None, ["paid", 7]]),
        ("> 0", [1, 0.5], [0, -1, "1", True, None]),
        (">= 10", [10, 10.0], [9.99]),
        ("< 5", [-7], [5]),
        ("<= 5", [5], [5.01]),
        ("!= failed", ["paid", None, 0], ["failed"]),
        ("!= 0", [1, "0", False], [0, 0.0]),
        ("== > 5", ["> 5"], [6]),
        (">5", [">5"], [6]),
    ],
)
def test_a_field_is_a_value_one_of_several_or_compares_with_one(
    wanted: Any, holds: list[Any], breaks: list[Any]
) -> None:
    broken = assertions({"field": wanted})
    assert [broken({"structuredContent": {"field": value}}) for value in holds] == [""] * len(holds)
    assert all(broken({"structuredContent": {"field": value}}) for value in breaks)


def test_what_is_broken_is_said_without_the_value() -> None:
    broken = assertions({"state": "paid", "amounts.*": "> 0", "kind": ["a", 1]})
    whole = {"state": "paid", "amounts": [1, 2], "kind": "a"}
    assert broken({"structuredContent": whole}) == ""
    assert broken({"structuredContent": {**whole, "state": "s3cret"}}) == 'state is not "paid"'
    assert broken({"structuredContent": {**whole, "amounts": [1, -2]}}) == 'amounts.* is not "> 0"'
    assert broken({"structuredContent": {**whole, "kind": 2}}) == 'kind is not one of ["a", 1]'


def test_a_field_that_is_not_there_breaks_its_assertion_and_an_empty_list_breaks_none() -> None:
    assert assertions({"a.b": "!= 1"})({"structuredContent": {"a": {}}})
    assert assertions({"a": 1})({"content": [{"type": "text", "text": "done"}]})
    assert assertions({"a": 1})({"content": [{"type": "text", "text": '{"a": 1}'}]}) == ""
    assert assertions({"rows.*.ok": True})({"structuredContent": {"rows": []}}) == ""
