"""Which Cedar type each JSON Schema gets, and which get none (POLICY.md §4)."""

import pytest

from gateway.policy.shape import Field, Kind, Shape, field_at, record_of
from tests.policy.acme import BOOLEAN, INTEGER, NUMBER, STRING, record


def field_of(schema, *, required=False, **root):
    return record_of({**record(*(["x"] if required else []), x=schema), **root}).fields["x"]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (STRING, Kind.STRING),
        (INTEGER, Kind.LONG),
        (NUMBER, Kind.DECIMAL),
        (BOOLEAN, Kind.BOOL),
        ({"type": "string", "format": "date-time"}, Kind.DATETIME),
        ({"type": "string", "format": "email"}, Kind.STRING),
        ({"enum": ["a", "b"]}, Kind.STRING),
        ({"enum": [1, 2]}, Kind.LONG),
        ({"const": True}, Kind.BOOL),
        ({"const": 1.5}, Kind.DECIMAL),
        ({"type": "object"}, Kind.RECORD),
        ({"properties": {"y": STRING}}, Kind.RECORD),
        ({"type": "array", "items": STRING}, Kind.SET),
        ({"type": "array"}, Kind.SET),
        ({"allOf": [STRING]}, Kind.STRING),
        ({"anyOf": [{"type": "string", "minLength": 2}, {"type": "string", "pattern": "^a"}]}, Kind.STRING),
        ({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, Kind.RECORD),
    ],
)
def test_a_schema_with_one_exact_type_has_it(schema, kind):
    found = field_of(schema, required=True)
    assert found.shape is not None
    assert (found.shape.kind, found.required) == (kind, True)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        None,
        {"type": ["string", "integer"]},
        {"anyOf": [STRING, INTEGER]},
        {"anyOf": []},
        {"anyOf": [{"type": "null"}]},
        {"enum": ["a", 1]},
        {"enum": []},
        {"enum": [{"a": 1}]},
        {"type": "null"},
        {"type": "unheard-of"},
        {"type": [["string"]]},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/none"},
        {"$ref": "#/$defs/text/type/deeper"},
        {"$ref": 7},
    ],
)
def test_a_schema_without_one_exact_type_has_none(schema):
    assert field_of(schema, **{"$defs": {"text": STRING}}).shape is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"anyOf": [STRING, {"type": "null"}]},
        {"enum": ["a", None]},
        {"oneOf": [{"const": None}, {"$ref": "#/$defs/text"}]},
        {"anyOf": [{"type": ["string", "null"]}]},
    ],
)
def test_a_nullable_property_is_optional(schema):
    assert field_of(schema, required=True, **{"$defs": {"text": STRING}}) == Field(Shape(Kind.STRING), required=False)


def test_local_references_are_followed_however_they_are_spelt():
    definitions = {"a/b": STRING, "m~n": INTEGER, "per cent": BOOLEAN}
    for reference, kind in (("a~1b", Kind.STRING), ("m~0n", Kind.LONG), ("per%20cent", Kind.BOOL)):
        found = field_of({"$ref": f"#/$defs/{reference}"}, **{"$defs": definitions}).shape
        assert found is not None
        assert found.kind is kind


def test_recursion_ends_where_it_begins():
    tree = record(name=STRING, child={"$ref": "#/$defs/tree"})
    found = field_of({"$ref": "#/$defs/tree"}, **{"$defs": {"tree": tree}}).shape
    assert found is not None
    assert found.fields["child"].shape is None
    assert record_of({"$ref": "#"}) == Shape(Kind.RECORD)


def test_references_cannot_multiply_without_end():
    laughs = {f"l{n}": record(a={"$ref": f"#/$defs/l{n + 1}"}, b={"$ref": f"#/$defs/l{n + 1}"}) for n in range(40)}
    shape = record_of({**record(x={"$ref": "#/$defs/l0"}), "$defs": laughs})
    assert _size(shape) <= 2000


def _size(shape):
    below = [field.shape for field in shape.fields.values() if field.shape is not None]
    return 1 + sum(_size(one) for one in below)


def test_depth_ends():
    schema = STRING
    for _ in range(3000):
        schema = {"type": "object", "properties": {"x": schema}}
    assert _depth(record_of(schema)) < 20


def _depth(shape):
    return 1 + max((_depth(field.shape) for field in shape.fields.values() if field.shape is not None), default=0)


@pytest.mark.parametrize("name", ["__entity", "__x", "\ud800", "x" * 300])
def test_a_name_cedar_cannot_hold_is_not_a_property(name):
    assert record_of(record(name, **{name: STRING})).fields == {}


@pytest.mark.parametrize("schema", [None, {}, STRING, {"type": "object", "properties": 7, "required": "x"}])
def test_arguments_without_declared_properties_are_an_empty_record(schema):
    assert record_of(schema) == Shape(Kind.RECORD)


def test_an_array_of_what_has_no_type_is_counted_only():
    for items in ({}, {"type": ["string", "null"]}, {"type": "array"}, {"anyOf": [STRING, INTEGER]}):
        assert field_of({"type": "array", "items": items}).shape == Shape(Kind.SET)


def test_a_property_is_required_where_every_step_to_it_is():
    shape = record_of(record("order", order=record("id", id=STRING, note=STRING), basket=record("id", id=STRING)))
    for path, required in ((["order", "id"], True), (["order", "note"], False), (["basket", "id"], False)):
        assert field_at(shape, path) == Field(Shape(Kind.STRING), required)
    for path in (["none"], ["order", "none"], ["order", "id", "none"]):
        assert field_at(shape, path) is None
