"""Arguments against a pinned schema."""

from typing import Any

import pytest

from gateway.catalog.validation import SchemaRefused, argument_checker

OPTIONAL = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "verbose": {"type": "boolean"}, "note": {"type": ["string", "null"]}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ({"name": "x", "verbose": None}, True),
        ({"name": "x", "verbose": None, "note": None}, True),
        ({"name": None}, False),
        ({"name": "x", "verbose": None, "other": None}, False),
        ({"name": "x", "verbose": "no", "note": None}, False),
        ({"name": "x", "verbose": "no"}, False),
        ([None], False),
    ],
)
def test_a_null_in_the_place_of_an_optional_argument_counts_as_its_absence(arguments: Any, fits: bool) -> None:
    assert (argument_checker(OPTIONAL)(arguments) == "") is fits


def test_where_required_is_no_list_nothing_is_required() -> None:
    with pytest.raises(SchemaRefused):
        argument_checker({"type": "object", "required": "name"})
