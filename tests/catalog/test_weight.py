"""A schema of a few lines cannot ask for more checks than can be made."""

import json
import tracemalloc
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.screening import screen
from gateway.catalog.validation import SchemaRefused, checker
from gateway.catalog.weight import MOST_CHECKS, Endless, weigher


def laughing(levels: int, wide: int, word: str = "allOf") -> dict[str, Any]:
    """A schema whose every level refers to the next in so many ways."""
    defs: dict[str, Any] = {"a0": {"type": "object"}}
    for level in range(1, levels):
        defs[f"a{level}"] = {word: [{"$ref": f"#/$defs/a{level - 1}"}] * wide}
    return {"$defs": defs, "$ref": f"#/$defs/a{levels - 1}"}


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


ENDLESS: dict[str, dict[str, Any]] = {
    "a billion laughs": laughing(10, 10),
    "any of a billion": laughing(30, 2, "anyOf"),
    "one of a billion": laughing(30, 2, "oneOf"),
    "itself": {"$ref": "#"},
    "itself, by way of another": {"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"not": {"$ref": "#"}}}},
    "itself, by an anchor": {"$anchor": "top", "if": {"$ref": "#top"}},
    "itself, by its name": {"$id": "https://x.example/s", "then": {"$ref": "s"}},
    "itself, dynamically": {"$dynamicAnchor": "d", "allOf": [{"$dynamicRef": "#d"}]},
    "itself, as a dependency": {"dependentSchemas": {"a": {"$ref": "#"}}},
}


@pytest.mark.parametrize("schema", ENDLESS.values(), ids=ENDLESS)
def test_a_schema_that_makes_too_much_work_of_any_value_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefused):
        checker({"type": "object", **schema})
    for field in ("inputSchema", "outputSchema"):
        assert "is refused" in screen({"name": "x", "inputSchema": {}, field: schema})


def test_a_long_chain_of_references_is_refused_and_breaks_nothing() -> None:
    with pytest.raises(SchemaRefused):
        checker(laughing(5000, 1))


TWICE: dict[str, Any] = {
    "anyOf": [{"properties": {"a": {"$ref": "#"}, "x": False}}, {"properties": {"a": {"$ref": "#"}}, "required": ["z"]}]
}


def test_a_value_is_refused_where_every_level_of_it_doubles_the_work() -> None:
    breaks = checker({"type": "object", **TWICE})
    assert "all that its schema" in breaks(nested(40))
    assert "all that its schema" not in breaks(nested(8))


def test_many_members_are_weighed_in_little_memory() -> None:
    weigh = weigher({"properties": {"a": {"$ref": "#"}}, "items": {"$ref": "#"}, "additionalProperties": {"$ref": "#"}})
    assert weigh is not None
    values = [0] * 50_000, {str(number): [] for number in range(50_000)}
    tracemalloc.start()
    try:
        assert min(weigh(value) for value in values) > 50_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert weigh([0] * MOST_CHECKS) > MOST_CHECKS


@pytest.mark.parametrize(
    "schema",
    [
        {"prefixItems": [{}] * 4000, "contains": {"anyOf": [{"minLength": 1}] * 2000}},
        {
            "properties": {str(n): {} for n in range(1000)},
            "patternProperties": {f"a{n}": {} for n in range(2000)},
        },
    ],
)
def test_that_a_schema_is_wide_is_told_in_little_memory(schema: dict[str, Any]) -> None:
    whole = json.loads(json.dumps(schema))  # as it comes: no subschema is another's
    tracemalloc.start()
    try:
        assert weigher(whole) is not None
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_schema_whose_references_lead_to_too_many_subschemas_is_refused() -> None:
    many = {"anyOf": [{"minLength": each} for each in range(1000)]}
    places = {f"p{each}": {"anyOf": [{"$ref": "#/$defs/many"}]} for each in range(1000)}
    assert "more subschemas" in screen({"name": "x", "inputSchema": {"properties": places, "$defs": {"many": many}}})


class Looked(dict[str, Any]):
    """A subschema that counts how often it is looked into."""

    times = 0

    def get(self, *asked: Any) -> Any:
        self.times += 1
        return super().get(*asked)


def test_what_is_checked_of_each_row_is_found_out_once() -> None:
    row = Looked(
        {"properties": {**{f"column{n}": {"minLength": n} for n in range(50)}, "parent": {"$ref": "#/$defs/row"}}}
    )
    weigh = weigher({"items": {"$ref": "#/$defs/row"}, "$defs": {"row": row}})
    assert weigh is not None
    rows = [{f"column{n}": "x" for n in range(50)}, {"parent": {"parent": {}}}]
    once = weigh(rows) - weigh([])
    before = row.times
    weigh(rows)
    few = row.times - before
    assert weigh(rows * 1000) - weigh([]) == 1000 * once
    assert row.times - before < 10 * few


def test_where_there_is_no_room_to_remember_places_they_weigh_the_same() -> None:
    places = {f"p{n}": {"anyOf": [{"minLength": each} for each in range(1000)]} for n in range(70)}
    weigh = weigher({"properties": places})
    assert weigh is not None
    one = weigh({"p0": {}}) - weigh({})
    assert weigh({name: {} for name in places}) - weigh({}) == len(places) * one
    assert weigh({name: name for name in places}) - weigh({}) == len(places) * one


def test_a_tree_may_be_as_deep_as_it_likes_where_one_way_leads_to_each_node() -> None:
    tree = {"properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "a": {"$ref": "#"}}}
    assert weigher(tree) is not None
    assert checker(tree)(nested(60)) == ""
    filters: dict[str, Any] = {
        "anyOf": [
            {"required": ["and"], "properties": {"and": {"type": "array", "items": {"$ref": "#"}}}},
            {"required": ["not"], "properties": {"not": {"$ref": "#"}}},
            {"required": ["field"]},
        ]
    }
    deep: Any = {"field": 1}
    for _ in range(25):
        deep = {"and": [{"not": deep}]}
    assert checker(filters)(deep) == ""


def test_the_items_of_a_list_are_weighed_each_by_what_is_said_of_its_place() -> None:
    pair = {"prefixItems": [{"$ref": "#"}, {"type": "integer"}], "items": {"not": {"$ref": "#/prefixItems/1"}}}
    weigh = weigher(pair)
    assert weigh is not None
    assert (weigh([]), weigh([[], 1]), weigh([[], 1, "x"])) == (1, 10, 13)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "object"}}},
        {"$defs": {"n": {"type": "string"}}, "properties": {"a": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}},
        {"properties": {"a~b/c": {}, "b": {"$ref": "#/properties/a~0b~1c"}}},
        {"allOf": [{}, True], "properties": {"a": {"$ref": "#/allOf/1"}}},
        {"properties": {"$ref": {"type": "string"}}},
        {"definitions": {"a": {"$id": "#a"}}, "items": [{"$ref": "#/definitions/a"}], "additionalItems": False},
        {"properties": {"schema": {"$ref": "http://json-schema.org/draft-07/schema#"}}},
        {"items": {"properties": {f"v{number}": {"enum": ["a", "b", "c"]} for number in range(200)}}},
        {"items": {"enum": [f"v{number}" for number in range(250)], "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}$"}},
    ],
)
def test_an_ordinary_schema_costs_its_calls_nothing(schema: dict[str, Any]) -> None:
    assert weigher(schema) is None


@pytest.mark.parametrize(
    ("items", "value", "fits"),
    [
        ({"enum": [f"v{number}" for number in range(5000)]}, "v1", 2000),
        ({"enum": [{"a": number} for number in range(1000)]}, {"a": 1}, 500),
        ({"anyOf": [{"const": number} for number in range(1000)]}, 999, 900),
        ({"anyOf": [{"allOf": [{}] * 30}] * 30}, 1, 900),
        ({"required": [f"v{number}" for number in range(5000)]}, {}, 3000),
        ({"properties": {f"v{number}": {} for number in range(5000)}}, {}, 3000),
        ({"patternProperties": {f"^v{number}": {} for number in range(1000)}}, {"a": 1}, 400),
        ({"pattern": "a.{500}c"}, "a" * 100, 500),
        ({"propertyNames": {"pattern": "a.{500}c"}, "patternProperties": {"b.{500}": {}}}, {"a" * 100: 1}, 300),
        ({"$ref": "#/$defs/a3"}, {}, 400),
    ],
)
def test_a_list_may_be_as_long_as_its_items_take_to_be_checked(items: Any, value: Any, fits: int) -> None:
    breaks = checker({"type": "array", "items": items, "$defs": laughing(4, 10)["$defs"]})
    assert "too large" not in breaks([value] * fits)
    assert "too large" in breaks([value] * fits * 10)


def test_huge_integers_that_must_differ_are_taken_in_small_numbers_only() -> None:
    breaks = checker({"type": "array", "uniqueItems": True})
    huge = [10**30 + number for number in range(20_000)]
    assert breaks(huge[:1000]) == breaks(list(range(100_000))) == breaks([2**64 - 1, -(2**63)]) == ""
    for each in (huge, [[number] for number in huge], [{"a": number} for number in huge]):
        assert "too large" in breaks(each)


@pytest.mark.parametrize("reference", ["#/none", "#/allOf/9", "#none", "other", "#/allOf/x", "#/type"])
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(Endless, match="cannot be followed"):
        weigher({"type": "object", "allOf": [{"$ref": reference}]})


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["allOf", "anyOf", "oneOf"]))
def test_a_schema_that_is_let_through_is_one_that_can_be_checked(levels: int, wide: int, word: str) -> None:
    schema = laughing(levels, wide, word)
    weigh = weigher(schema)
    assert weigh is None or weigh({}) <= MOST_CHECKS
    assert wide ** (levels - 1) <= MOST_CHECKS
    jsonschema_rs.validator_for(schema).is_valid({})
