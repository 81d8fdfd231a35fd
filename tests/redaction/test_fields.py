"""`@redact("email,iban")`: named properties are masked wherever the answer holds them."""

import json
from typing import Any

import pytest

from gateway.redaction.redactor import MARK, Redactor


def mask(result: Any, *fields: str) -> Any:
    return Redactor().deliver(result, fields=fields)


def text_block(value: Any) -> dict[str, Any]:
    return {"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}


CUSTOMER = {"name": "Ada", "email": "ada@acme.example", "accounts": [{"IBAN": "DE02120300000000202051", "n": 1}]}


def test_properties_are_masked_in_structured_content_and_in_json_text() -> None:
    result = {"content": [text_block(CUSTOMER)], "structuredContent": CUSTOMER, "isError": False}
    masked = mask(result, "email", "iban")
    expected = {"name": "Ada", "email": MARK, "accounts": [{"IBAN": MARK, "n": 1}]}
    assert masked["structuredContent"] == expected
    assert json.loads(masked["content"][0]["text"]) == expected
    assert masked["content"][0]["type"] == "text"
    assert masked["isError"] is False
    assert CUSTOMER["email"] == "ada@acme.example"


def test_a_result_without_the_fields_is_the_very_same_object() -> None:
    for result in (
        {"content": [text_block({"name": "Ada"}), text_block("email me"), "odd"], "structuredContent": {"a": [1]}},
        {"content": "not a list", "isError": True},
        {},
    ):
        assert mask(result, "email") is result
    assert mask({"email": 1}) == {"email": 1}
    assert mask("email: x", "email") == "email: x"


def test_masked_values_are_taken_out_of_prose_as_well() -> None:
    result = {
        "content": [text_block("Ada (ada@acme.example) was found."), {"type": "image", "data": "x", "mimeType": "y"}],
        "structuredContent": CUSTOMER,
    }
    masked = mask(result, "email")
    assert masked["content"][0]["text"] == f"Ada ({MARK}) was found."
    assert masked["content"][1] == {"type": "image", "data": "x", "mimeType": "y"}


def test_values_known_from_text_only_are_taken_out_elsewhere() -> None:
    result = {"content": [text_block(CUSTOMER), text_block("to ada@acme.example")]}
    assert mask(result, "email")["content"][1]["text"] == f"to {MARK}"


def test_protocol_members_survive_fields_of_the_same_name() -> None:
    result = {"content": [text_block({"type": "secret-type", "text": "abcd"})], "structuredContent": {"text": "other"}}
    masked = mask(result, "type", "text")
    assert masked["content"][0]["type"] == "text"
    assert json.loads(masked["content"][0]["text"]) == {"type": MARK, "text": MARK}
    assert masked["structuredContent"] == {"text": MARK}


def test_nested_json_embedded_resources_and_meta_are_looked_into() -> None:
    result = {
        "content": [
            {"type": "resource", "resource": {"uri": "x:y", "text": json.dumps([CUSTOMER])}},
            text_block({"raw": json.dumps({"email": "b@c.example"})}),
        ],
        "_meta": {"note": {"email": ["d@e.example", {"home": "f@g.example"}]}},
        "other": json.dumps({"Email": 7}),
    }
    masked = json.dumps(mask(result, "email"))
    for address in ("ada@acme.example", "b@c.example", "d@e.example", "f@g.example"):
        assert address not in masked
    assert json.loads(json.loads(masked)["other"]) == {"Email": MARK}


@pytest.mark.parametrize(
    "text",
    ['{"email":"a@b.c","email":"d@e.f"}', '{"email":"a@b.c",}', '{"email":"\ud800a@b.c"}',
     "[" * 200 + '"email"' + "]" * 200, '{"x":"' + "y" * 9_000_000 + '","email":"a@b.c"}'],
    ids=["duplicate key", "malformed", "lone surrogate", "too deep", "too large"],
)  # fmt: skip
def test_json_that_cannot_be_read_for_sure_is_masked_whole(text: str) -> None:
    assert mask({"content": [text_block(text)]}, "email")["content"][0]["text"] == MARK
    result = {"content": [text_block(text)]}
    assert mask(result, "iban") is result


def test_whole_members_can_be_named() -> None:
    assert mask({"structuredContent": {"a": 1}, "extra": 2}, "extra") == {"structuredContent": {"a": 1}, "extra": MARK}


def test_the_gateways_secrets_are_taken_out_too() -> None:
    result = {"content": [text_block(CUSTOMER), text_block("key k-123456")]}
    masked = Redactor(["k-123456"]).deliver(result, fields=("email",))
    assert masked["content"][1]["text"] == f"key {MARK}"
    assert "ada@" not in json.dumps(masked)
