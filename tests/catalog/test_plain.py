"""Schemas that are certain to compile, against what compiles them."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.catalog.plain import is_plain
from gateway.catalog.validation import SchemaRefused, accept_schema, argument_checker, checker

WORDS = (
    *("type", "properties", "required", "items", "additionalProperties", "allOf", "anyOf", "oneOf", "enum", "const"),
    *(
        "default",
        "examples",
        "title",
        "description",
        "readOnly",
        "uniqueItems",
        "minimum",
        "exclusiveMaximum",
        "format",
    ),
    *("minLength", "maxItems", "maxProperties", "pattern", "$ref", "$id", "id", "not", "x-of-ours", "definitions"),
)
PATTERNS = ("^[a-z0-9][a-z0-9._-]{0,31}$", "[z-a]", "a{5,2}", "[a]{5,2}", "[0-9]{3}-[A-Z]+", "(", "[a-z-]", "(?=a)", "")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.just(10**400),
    st.floats(),
    st.sampled_from(["string", "object", "date-time", "#/properties/a", "https://example.com/s", *PATTERNS]),
    st.lists(st.sampled_from(["a", "string", "null", 1, None, True]), max_size=3),
)
SCHEMAS = st.recursive(
    st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=4),
    lambda below: st.dictionaries(
        st.sampled_from(WORDS),
        VALUES | below | st.lists(below, max_size=2) | st.dictionaries(st.sampled_from("abc"), below, max_size=2),
        max_size=4,
    ),
)
ORDER = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{1,8}$", "description": "Which."},
        "note": {"anyOf": [{"type": "string", "maxLength": 80}, {"type": "null"}], "default": None},
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "properties": {"sku": {"enum": ["a", 1]}}},
        },
    },
    "required": ["id"],
    "additionalProperties": False,
}


@given(SCHEMAS)
@example({"pattern": "[a]{5,2}"})
@example({"type": ["string", "string"]})
@example({"enum": []})
@example({"enum": [1, 1, True]})
@example({"format": "unheard-of"})
def test_a_plain_schema_compiles(schema: dict[str, Any]) -> None:
    for draft in ({}, {"$schema": "http://json-schema.org/draft-07/schema#"}):
        if is_plain({**schema, **draft}):
            jsonschema_rs.validator_for({**schema, **draft}, offline=True)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_plain_pattern_compiles(pattern: str) -> None:
    if is_plain({"pattern": pattern}):
        jsonschema_rs.validator_for({"pattern": pattern}, offline=True)


def test_the_schema_of_an_ordinary_tool_is_plain() -> None:
    assert is_plain(ORDER)


@pytest.mark.parametrize(
    "changed",
    [
        {"$schema": "https://example.com/schema"},
        {"$schema": ["http://json-schema.org/draft-07/schema#"]},
        {"$ref": "#/properties/id"},
        {"properties": [{}]},
        {"items": [{}]},
        {"oneOf": []},
        {"minLength": -1},
        {"maxLength": True},
        {"required": "id"},
        {"required": [["id"]]},
        {"type": "text"},
        {"default": {"of": "any"}},
        {"properties": {"id": {"$schema": "http://json-schema.org/draft-07/schema#"}}},
    ],
)
def test_what_may_not_compile_or_refers_to_something_is_not_plain(changed: dict[str, Any]) -> None:
    assert not is_plain({**ORDER, **changed})


def test_what_nests_deeply_is_not_plain() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": deep}
    assert not is_plain(deep)


def test_a_plain_schema_is_held_against_values_as_any_other() -> None:
    order = {"id": "DE1", "lines": [{"sku": "a"}], "note": None}
    breaks, answers = argument_checker(ORDER), checker(ORDER)
    assert breaks(order) == answers(order) == ""
    assert breaks({**order, "lines": None}) == ""
    assert answers({**order, "lines": None}).startswith("at /lines: ")
    assert breaks({**order, "id": "de1"}).startswith("at /id: ")


def _crowded() -> dict[str, Any]:
    schema: dict[str, Any] = {"anyOf": [{}] * 20_000}
    for _ in range(30):
        schema = {"anyOf": [schema]}
    return schema


@pytest.mark.parametrize(
    "schema",
    [{"type": "text"}, {"$ref": "https://example.com/s"}, {"pattern": "(?=a)"}, json.loads(json.dumps(_crowded()))],
)
def test_a_schema_that_does_not_compile_is_refused_before_any_value_is_held_against_it(schema: dict[str, Any]) -> None:
    for refused in (accept_schema, checker, argument_checker):
        with pytest.raises(SchemaRefused):
            refused(schema)
