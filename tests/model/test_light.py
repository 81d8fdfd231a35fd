"""A light dataclass is the dataclass it was, but for who keeps it frozen."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from gateway.model.light import light, maker


@light
@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2
    tags: Sequence[str] = field(default_factory=list, repr=False)


def test_it_is_made_with_positions_names_and_defaults() -> None:
    point = Point(1)
    assert (point.x, point.y, point.tags) == (1, 2, [])
    assert Point(1, y=3, tags=("a",)) == Point(x=1, y=3, tags=("a",))
    assert Point(1).tags is not point.tags


def test_a_missing_and_an_unknown_field_are_refused() -> None:
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]  # that is the test
    with pytest.raises(TypeError):
        Point(1, z=2)  # type: ignore[call-arg]  # that is the test
    with pytest.raises(AttributeError):
        assert Point(1).z  # type: ignore[attr-defined]  # that is the test


def test_it_is_compared_hashed_shown_matched_and_replaced_as_before() -> None:
    point = Point(1, 2, ("a",))
    assert len({point, Point(1, 2, ("a",))}) == 1
    assert repr(point) == "Point(x=1, y=2)"
    assert replace(point, x=3) == Point(3, 2, ("a",))
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_a_maker_makes_the_same_of_names_and_defaults() -> None:
    make = maker(Point)
    point = make(x=1)
    assert point == Point(1)
    assert type(point) is Point
    assert point.tags is not make(x=1).tags
    assert make(1, y=3, tags=("a",)) == Point(1, 3, ("a",))


@light
@dataclass(frozen=True, slots=True)
class Made:
    kind: str
    new: int = 1
    unset: list[str] = field(default_factory=list)
    made: bool = True


def test_a_maker_knows_its_own_names_from_those_of_fields() -> None:
    assert maker(Made)(kind="a", new=2) == Made("a", 2)


def test_a_maker_refuses_a_missing_and_an_unknown_field() -> None:
    make = maker(Point)
    with pytest.raises(TypeError):
        make()  # type: ignore[call-arg]  # that is the test
    with pytest.raises(TypeError):
        make(x=1, z=2)  # type: ignore[call-arg]  # that is the test
