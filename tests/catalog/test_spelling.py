"""Declared arguments in another spelling."""

from typing import Any

import pytest

from gateway.catalog.spelling import spelling
from gateway.catalog.validation import SchemaRefused, argument_checker

TEXT = {"type": "string"}
PAYEE = {"type": "object", "properties": {"iban": TEXT, "next": {"$ref": "#/$defs/a~1b"}}}
SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "number"},
        "payee_id": TEXT,
        "Mode": TEXT,
        "mode": TEXT,
        "payee": {"$ref": "#/$defs/a~1b"},
        "lines": {"type": "array", "items": {"anyOf": [{"type": "null"}, {"properties": {"sku": TEXT}}]}},
        "odd": {"$ref": "#/$defs/none"},
        "again": {"$ref": "#"},
        "far": {"$ref": "https://elsewhere.example/schema"},
    },
    "$defs": {"a/b": PAYEE},
}


@pytest.mark.parametrize(
    ("arguments", "where", "meant"),
    [
        ({"Amount": 900}, "/", "amount"),
        ({"amount": 1, "AMOUNT": 900}, "/", "amount"),
        ({"amount": 1, "a-mount": 900}, "/", "amount"),
        ({"payeeId": "x"}, "/", "payee_id"),
        ({"payee": {"IBAN": "x"}}, "/payee", "iban"),
        ({"payee": {"next": {"next": {"\u0131ban": "x", "Iban": "y"}}}}, "/payee/next/next", "iban"),
        ({"again": {"again": {"Amount": 1}}}, "/again/again", "amount"),
        ({"lines": [{"sku": "a"}, {"SKU": "b"}]}, "/lines/1", "sku"),
        ({"li\u017fts": [], "line\u017f": []}, "/", "lines"),
    ],
)
def test_a_declared_argument_in_another_spelling_is_named(arguments: Any, where: str, meant: str) -> None:
    assert spelling(SCHEMA)(arguments) == f'at {where}: "{meant}" is spelled otherwise: write it as the schema does'


@pytest.mark.parametrize(
    "arguments",
    [
        {"amount": 1, "payee_id": "x", "Mode": "a", "mode": "b"},
        {"other": 1, "Other": 2, "payee": {"more": {"IBAN": 1}}, "odd": {"Amount": 1}, "far": {"Amount": 1}},
        {"payee": ["IBAN"], "lines": {"SKU": 1}},
    ],
)
def test_what_is_declared_and_what_is_like_nothing_declared_passes(arguments: Any) -> None:
    assert spelling(SCHEMA)(arguments) == ""


def test_it_breaks_a_schema_that_leaves_the_rest_open() -> None:
    check = argument_checker({"properties": {"amount": {"type": "number"}}})
    assert (check({"amount": 1, "more": 2}), "amount" in check({"amount": 1, "Amount": 2})) == ("", True)


@pytest.mark.parametrize("schema", [{}, {"properties": []}, {"properties": {"a": True}, "items": True, "allOf": [1]}])
def test_a_schema_that_declares_nothing_leaves_everything(schema: Any) -> None:
    assert spelling(schema)({"A ": 1}) == ""


def _referring(times: int, how: dict[str, Any]) -> dict[str, Any]:
    many = {"properties": {f"name_{number}": TEXT for number in range(1000)}}
    return {"properties": {f"p{number}": dict(how) for number in range(times)}, "$defs": {"many": many}}


def test_what_many_refer_to_is_read_once() -> None:
    check = argument_checker(_referring(1000, {"$ref": "#/$defs/many"}))
    assert (check({"p7": {"name_1": "x"}}), "name_1" in check({"p7": {"Name_1": "x"}})) == ("", True)


def test_a_schema_that_repeats_names_without_end_is_refused_instead_of_read() -> None:
    together = {"anyOf": [{"$ref": "#/$defs/many"}, {"type": "null"}]}
    assert "name_1" in argument_checker(_referring(50, together))({"p7": {"Name_1": "x"}})
    with pytest.raises(SchemaRefused, match="repeat more declared names"):
        argument_checker(_referring(1000, together))
