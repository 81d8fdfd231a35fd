"""Putting objects into another shape."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.catalog.adapter import AdapterRule, adapter, result_adapter


def adapted(value: dict[str, Any], **rule: Any) -> Any:
    change = adapter(AdapterRule.model_validate(rule))
    assert change is not None
    return change(value)


@pytest.mark.parametrize(
    ("rule", "value", "made"),
    [
        ({"rename": {"amt": "amount"}}, {"amt": 5, "to": "x"}, {"amount": 5, "to": "x"}),
        ({"rename": {"amt": "amount"}}, {"to": "x"}, {"to": "x"}),
        ({"rename": {"a": "b", "b": "a"}}, {"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({"rename": {"id": "customer.id"}}, {"id": 7}, {"customer": {"id": 7}}),
        ({"rename": {"customer.id": "id"}}, {"customer": {"id": None, "n": 1}}, {"customer": {"n": 1}, "id": None}),
        ({"rename": {"a.b": "c"}}, {"a": "text"}, {"a": "text"}),
        ({"default": {"currency": "EUR"}}, {}, {"currency": "EUR"}),
        ({"default": {"currency": "EUR"}}, {"currency": None}, {"currency": None}),
        ({"default": {"page.size": 10}}, {"page": {"number": 1}}, {"page": {"number": 1, "size": 10}}),
        ({"constant": {"mode": "read"}}, {"mode": "write"}, {"mode": "read"}),
        ({"constant": {"a.b": 1}}, {"a": 5}, {"a": {"b": 1}}),
        ({"drop": ["note", "a.b"]}, {"note": 1, "a": {"b": 2, "c": 3}}, {"a": {"c": 3}}),
        ({"drop": ["x"], "rename": {"y": "x"}, "default": {"x": 3}}, {"x": 1, "y": 2}, {"x": 2}),
        ({"default": {"list": []}}, {}, {"list": []}),
    ],
)
def test_fields_are_dropped_renamed_added_and_set_in_that_order(
    rule: dict[str, Any], value: dict[str, Any], made: dict[str, Any]
) -> None:
    before = json.dumps(value)
    assert adapted(value, **rule) == made
    assert json.dumps(value) == before


def test_what_is_added_once_is_not_shared_with_the_next_object() -> None:
    change = adapter(AdapterRule(default={"tags": {"a": []}}))
    assert change is not None
    first: Any = change({})
    first["tags"]["a"].append(1)
    assert change({}) == {"tags": {"a": []}}


def test_shapes_that_are_alike_need_no_adapter() -> None:
    assert adapter(AdapterRule()) is None
    assert result_adapter(AdapterRule()) is None


@pytest.mark.parametrize("wrong", [{"rename": {"rows.*.a": "b"}}, {"drop": ["a..b"]}, {"rename": {"a": ""}}])
def test_an_adapter_moves_single_fields(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        AdapterRule.model_validate(wrong)


def test_a_result_is_adapted_where_it_is_structured_and_its_text_says_the_same() -> None:
    change = result_adapter(AdapterRule(rename={"mail": "email"}, drop=["iban"]))
    assert change is not None
    image = {"type": "image", "data": "…"}
    result = {
        "content": [{"type": "text", "text": '{"mail":"a@b","iban":"DE1"}'}, image],
        "structuredContent": {"mail": "a@b", "iban": "DE1"},
        "unknown": 1,
    }
    made = change(result)
    assert made["structuredContent"] == {"email": "a@b"}
    assert made["content"] == [{"type": "text", "text": '{"email":"a@b"}'}, image]
    assert made["unknown"] == 1
    assert change({"content": [{"type": "text", "text": '{"mail": "x"}'}]})["structuredContent"] == {"email": "x"}


@pytest.mark.parametrize("result", [{"structuredContent": [1]}, {"content": [{"type": "text", "text": "five"}]}, {}])
def test_a_result_that_is_no_object_cannot_be_adapted(result: Any) -> None:
    change = result_adapter(AdapterRule(drop=["a"]))
    assert change is not None
    with pytest.raises(ValueError, match="not an object"):
        change(result)
