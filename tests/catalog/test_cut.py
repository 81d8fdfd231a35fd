"""A client that holds a cut answer against the listed schema accepts it."""

from typing import Any

import jsonschema
import pytest

from gateway.catalog.cut import CUT, or_cut

ITEM = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
PLAIN = {"type": "object", "properties": {"a": ITEM}, "required": ["a"], "additionalProperties": False}
NOTE = {CUT: {"handle": "res_1"}}


@pytest.mark.parametrize(
    "schema",
    [
        PLAIN,
        {"$defs": {"item": ITEM}, "type": "object", "properties": {"a": {"$ref": "#/$defs/item"}}, "required": ["a"]},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"item": ITEM},
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"$ref": "#/definitions/item"}},
        },
    ],
)
def test_the_whole_answer_and_the_note_are_both_valid_and_nothing_else_is(schema: dict[str, Any]) -> None:
    listed = or_cut({"name": "x", "outputSchema": schema})["outputSchema"]
    assert listed["type"] == "object"
    check = jsonschema.validators.validator_for(listed)(listed)
    assert check.is_valid({"a": {"n": 1}})
    assert check.is_valid(NOTE)
    assert not check.is_valid({"a": {"n": "one"}})
    assert not check.is_valid({})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"child": {"$ref": "#"}}},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}}},
        {"$id": "https://acme.example/x", "type": "object"},
        {"type": "object", "properties": {"a": {"anyOf": [{"$dynamicRef": "#node"}]}}},
        True,
    ],
)
def test_a_schema_that_cannot_be_moved_is_not_listed(schema: Any) -> None:
    assert or_cut({"name": "x", "outputSchema": schema}) == {"name": "x"}


def test_a_tool_without_an_output_schema_is_listed_as_it_is() -> None:
    definition = {"name": "x", "inputSchema": {"type": "object"}}
    assert or_cut(definition) is definition
