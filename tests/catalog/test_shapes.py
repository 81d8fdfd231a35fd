"""The shape of answers that no schema describes."""

import json
from typing import Any

import pytest

from gateway.catalog.shapes import ENOUGH, Learner, Shape

ORDER = {"id": 7, "note": None, "items": [{"sku": "a", "price": 1.5}, {"sku": "b", "price": 2, "gift": True}]}


def result(value: Any) -> dict[str, Any]:
    return {"content": [], "structuredContent": value}


def learnt(*values: Any) -> Shape:
    """The shape of these answers, each as often as it takes."""
    learner, shape = Learner(), None
    while shape is None:
        shape = learner.learn(result(values[learner.answers % len(values)]))
    assert learner.answers == ENOUGH
    assert Shape.told(json.loads(json.dumps(shape.tell()))) == shape
    return shape


def test_what_was_always_there_is_told_from_what_was_not() -> None:
    shape = learnt(ORDER, {**ORDER, "note": "fragile", "total": 9})
    assert shape.tell() == {
        "types": {
            "": ["object"],
            "/id": ["number"],
            "/items": ["array"],
            "/items/*": ["object"],
            "/items/*/gift": ["boolean"],
            "/items/*/price": ["number"],
            "/items/*/sku": ["string"],
            "/note": ["null", "string"],
            "/total": ["number"],
        },
        "always": ["/id", "/items", "/items/*/price", "/items/*/sku", "/note"],
    }


@pytest.mark.parametrize(
    ("answer", "differences"),
    [
        (ORDER, []),
        ({**ORDER, "new": {"x": 1}}, []),
        ({**ORDER, "items": []}, []),
        ({**ORDER, "id": 7.5}, []),
        ({**ORDER, "id": "7"}, ["/id is string, was number"]),
        ({**ORDER, "id": True}, ["/id is boolean, was number"]),
        ({**ORDER, "items": [{"sku": "a"}, {"price": 1}]}, ["/items/*/price is missing", "/items/*/sku is missing"]),
        ({"id": 7, "note": None}, ["/items is missing"]),
        ({**ORDER, "items": {"0": {}}}, ["/items is object, was array"]),
        ([ORDER], ["the answer is array, was object"]),
        (None, ["the answer is null, was object"]),
    ],
)
def test_an_answer_differs_where_a_field_is_missing_or_has_a_type_it_never_had(answer: Any, differences: Any) -> None:
    assert learnt(ORDER).differences(result(answer)) == differences


def test_text_that_is_json_has_a_shape_too_and_other_text_is_not_structured() -> None:
    shape = learnt(ORDER)
    as_text = {"content": [{"type": "text", "text": json.dumps(ORDER)}]}
    assert shape.differences(as_text) == []
    assert shape.differences({"content": [{"type": "text", "text": "sorry"}]}) == [
        "the answer is unstructured, was object"
    ]


def test_names_are_told_apart_whatever_is_in_them() -> None:
    shape = learnt({"a/b": 1, "a": {"b": "x"}, "~": 2, "": 3})
    assert shape.differences(result({"a/b": "now text", "a": {"b": "x"}, "~": 2, "": 3})) == [
        "/a~1b is string, was number"
    ]
    assert shape.differences(result({"a/b": 1, "a": {"b": "x"}})) == ["/ is missing", "/~0 is missing"]


def test_a_table_by_key_is_no_shape_and_never_differs() -> None:
    keys = iter(range(10_000))
    shape = learnt(*({f"customer {next(keys)}": n for n in range(40)} for _ in range(ENOUGH)))
    assert shape.tell() == {"types": {}, "always": []}
    assert shape.differences(result(None)) == []


def test_of_what_is_very_large_or_deep_only_a_part_is_looked_at() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"d": deep}
    wide = {f"k{n}": n for n in range(101)}
    shape = learnt({"deep": deep, "wide": wide, "many": list(range(1000))})
    assert len(shape.types) < 20
    assert shape.differences(result({"deep": deep, "wide": {}, "many": [*range(50), "text"]})) == []
    many = {f"k{n}": 1 for n in range(30)}
    assert len(learnt(many).differences(result({name: "x" for name in many}))) == 10
