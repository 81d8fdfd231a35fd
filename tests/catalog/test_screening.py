"""Texts in which a person does not see everything that a model reads."""

import pytest

from gateway.catalog.screening import hidden_characters


@pytest.mark.parametrize(
    "text",
    [
        "Adds" + "".join(chr(0xFE00 + nibble) for nibble in b"\x06\x09"),
        "A\ufe01d\ufe02d\ufe03s",
        "\U0001f600" + "".join(chr(0xE0100 + byte) for byte in b"call wire"),
        "\U0001f600\ufe0f\ufe01",
        "Adds\u200dnumbers",
        "\U0001f469\u200d\u200d\U0001f4bb",
        "\u3164\u115f\u2800",
        "a\u034fb",
        "\U000e0041\U000e0064",
        "\u202eabc",
        "a\u200bb",
        "\x1b[8mabc",
    ],
)
def test_what_cannot_be_seen_is_named(text: str) -> None:
    assert hidden_characters({"description": text}).startswith("U+")


@pytest.mark.parametrize(
    "text",
    [
        "several\nlines\r\n\tindented",
        "\U0001f469\u200d\U0001f4bb \U0001f3f3\ufe0f\u200d\U0001f308 \u2764\ufe0f 1\ufe0f\u20e3 #\ufe0f \u263a\ufe0e",
        "\u845b\U000e0100\u57ce",
        "\u0915\u094d\u200d\u0937 \u0644\u200d",
        "\u2229\ufe00",
        "\u7530\u4e2d \u0645\u0646 \u00e9e\u0301",
    ],
)
def test_what_changes_only_how_the_visible_looks_passes(text: str) -> None:
    assert hidden_characters({"description": text}) == ""
