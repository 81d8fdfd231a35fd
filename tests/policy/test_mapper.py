"""Arguments become exactly their declared types, or are reported (POLICY.md §4)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.mapper import decimal_text, extension, instant, map_record
from gateway.policy.shape import record_of
from tests.policy.acme import BOOLEAN, INTEGER, NUMBER, STRING, record

MOMENT = {"type": "string", "format": "date-time"}
ORDER = record(
    "id",
    id=STRING,
    count=INTEGER,
    price=NUMBER,
    gift=BOOLEAN,
    at=MOMENT,
    tags={"type": "array", "items": STRING},
    lines={"type": "array", "items": record("sku", sku=STRING, price=NUMBER)},
    grid={"type": "array", "items": {"type": "array", "items": INTEGER}},
    anything={"type": "array"},
    union={"type": ["string", "integer"]},
    ship=record(to=STRING, via={"type": "array", "items": STRING}),
)
SHAPE = record_of(ORDER)


def mapped(**arguments):
    return map_record(SHAPE, {"id": "o1", **arguments})


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("id", "été\u0000", "été\u0000"),
        ("count", 3, 3),
        ("count", 3.0, 3),
        ("count", -(2**63), -(2**63)),
        ("price", 250, extension("decimal", "250.0000")),
        ("price", 0.1, extension("decimal", "0.1000")),
        ("gift", False, False),
        ("at", "2026-01-01T00:00:00Z", instant(1_767_225_600_000)),
        ("at", "2026-01-01t01:30:00.250+01:30", instant(1_767_225_600_250)),
        ("at", "2025-12-31T22:30:00-0130", instant(1_767_225_600_000)),
        ("tags", ["a", "b", "a"], ["a", "b", "a"]),
        ("tags", [], []),
        ("lines", [{"sku": "s", "price": 1}], [{"sku": "s", "price": extension("decimal", "1.0000")}]),
        ("grid", [[1], [2, 3]], [[1], [2, 3]]),
        ("ship", {"to": "x"}, {"to": "x"}),
    ],
)
def test_a_value_of_the_declared_type_is_shown(name, raw, value):
    found = mapped(**{name: raw})
    assert found.values[name] == value
    assert found.unmodelled == ()
    assert found.dropped == ()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("id", 7),
        ("id", "\ud800"),
        ("id", "x" * 300_000),
        ("count", True),
        ("count", 2**63),
        ("count", 1.5),
        ("count", "3"),
        ("price", True),
        ("price", 0.00001),
        ("price", 1e300),
        ("price", float("nan")),
        ("price", float("inf")),
        ("price", 10**4000),
        ("price", 922337203685478),
        ("gift", 1),
        ("at", 7),
        ("at", "tomorrow"),
        ("at", "2026-02-30T00:00:00Z"),
        ("at", "2026-01-01T00:00:60Z"),
        ("at", "2026-01-01T00:00:00+01:60"),
        ("at", "2026-01-01T00:00:00-2400"),
        ("at", "2026-01-01T00:00:00.1234Z"),
        ("at", "2026-01-01T00:00:00"),
        ("at", "2026-01-01T00:00:00+25:00"),
        ("at", "0001-01-01T00:00:00+01:00"),
        ("at", "٢٠٢٦-01-01T00:00:00Z"),
        ("tags", "a"),
        ("tags", ["a", 1]),
        ("tags", ["a", None]),
        ("tags", ["x"] * 1001),
        ("lines", [{"price": 1}]),
        ("lines", [{"sku": "s", "price": 0.00001}]),
        ("lines", ["s"]),
        ("grid", [[1], ["2"]]),
        ("grid", [1]),
        ("grid", [[0] * 1000] * 11),
        ("ship", "x"),
        ("ship", [{"to": "x"}]),
    ],
)
def test_a_value_that_is_not_exactly_of_the_declared_type_is_left_out_and_reported(name, raw):
    found = mapped(**{name: raw})
    assert name not in found.values
    assert found.unmodelled[-1] == f"/{name}"
    assert set(found.dropped) == {(name,)}


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        ({"undeclared": 1}, "/undeclared"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"\ud800": 1}, "/\\ud800"),
        ({"__entity": {"type": "Gateway::Agent", "id": "root"}}, "/__entity"),
        ({"union": 1}, "/union"),
        ({"anything": [1]}, "/anything"),
        ({"ship": {"to": "x", "extra": []}}, "/ship/extra"),
        ({"lines": [{"sku": "s", "extra": 1}]}, "/lines/0/extra"),
    ],
)
def test_what_has_no_declared_type_is_reported(arguments, pointer):
    found = mapped(**arguments)
    assert found.unmodelled == (pointer,)
    assert found.dropped == ()


def test_null_is_absent():
    found = mapped(count=None, undeclared=None, union=None, ship={"to": None})
    assert found.values == {"id": "o1", "ship": {}}
    assert found.unmodelled == ()


@pytest.mark.parametrize("arguments", [{}, {"id": None}])
def test_a_missing_required_value_is_dropped_without_being_unmodelled(arguments):
    found = map_record(SHAPE, arguments)
    assert (found.unmodelled, found.dropped) == ((), (("id",),))


@pytest.mark.parametrize("arguments", [None, [], "x", 7])
def test_arguments_that_are_no_object_are_unmodelled_as_a_whole(arguments):
    found = map_record(SHAPE, arguments)
    assert (found.values, found.unmodelled, found.dropped) == ({}, ("",), (("id",),))


def test_arrays_are_counted_whether_shown_or_not():
    found = mapped(tags=["a", "a"], anything=[1, "x", {}], lines=[1], ship={"via": ["x"] * 5000})
    assert found.counts == {"tags": 2, "anything": 3, "lines": 1, "ship": {"via": 5000}}


def test_an_empty_array_of_anything_hides_nothing():
    assert mapped(anything=[]).unmodelled == ()


def test_of_very_many_unmodelled_places_only_the_first_are_named():
    found = mapped(**{f"u{number:05}" + "x" * 500: 1 for number in range(3000)})
    assert len(found.unmodelled) == 64
    assert all(len(pointer) <= 256 for pointer in found.unmodelled)


@pytest.mark.parametrize("value", ["1", None, [], True])
def test_only_numbers_are_decimals(value):
    assert decimal_text(value) is None


@given(st.decimals(min_value="-922337203685477.5808", max_value="922337203685477.5807", places=4))
def test_a_number_with_four_places_keeps_its_value(number):
    raw = json.loads(str(number))
    text = decimal_text(raw)
    assert text is None or float(text) == raw
    if abs(number) < 10**11:
        assert text is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
NEAR = st.fixed_dictionaries({}, optional={name: JSON for name in SHAPE.fields})


@given(NEAR)
def test_any_json_maps_to_declared_types_only(arguments):
    found = map_record(SHAPE, arguments)
    for name, value in found.values.items():
        expected = {"id": str, "count": int, "gift": bool, "ship": dict, "price": dict, "at": dict}.get(name, list)
        assert type(value) is expected
    for pointer in found.unmodelled:
        assert pointer.encode()
    assert set(found.counts) <= {"tags", "lines", "grid", "anything", "ship"}
