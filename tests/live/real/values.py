"""Arguments that fit a JSON Schema: enough of it for the schemas that real servers have."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["arguments"]

TEXTS = (
    "", "a", "hello world", "ü", "e\u0301", "日本語", "🏦", "\u2028", 'quote"\\', "a\nb", "../x", "-rf", "${secret:x}",
    "%s", "null", "1e9", "<b>", "x" * 300,
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, -1, 7, 0.5, -2.25, 1e10, 123456789)

Choices = Mapping[str, Sequence[Any]]


def arguments(schema: Mapping[str, Any], chance: random.Random, choices: Choices) -> dict[str, Any]:
    """Return an object; a property named in `choices` mostly gets one of those values."""
    required = set(schema.get("required", ()))
    found = {}
    for name, inner in schema.get("properties", {}).items():
        if name not in required and chance.random() < 0.5:
            continue
        if name in choices and chance.random() < 0.8:
            found[name] = chance.choice(choices[name])
        else:
            found[name] = _value(inner, chance, choices)
    return found


def _value(schema: Mapping[str, Any], chance: random.Random, choices: Choices) -> Any:
    if "enum" in schema:
        return chance.choice(schema["enum"])
    if "anyOf" in schema:
        return _value(chance.choice(schema["anyOf"]), chance, choices)
    match schema.get("type"):
        case "object":
            return arguments(schema, chance, choices)
        case "array":
            count = chance.randrange(schema.get("minItems", 0), schema.get("minItems", 0) + 3)
            return [_value(schema["items"], chance, choices) for _ in range(count)]
        case "boolean":
            return chance.random() < 0.5
        case "null":
            return None
        case "integer" | "number":
            return _number(schema, chance)
        case "string":
            return chance.choice([text for text in TEXTS if len(text) >= schema.get("minLength", 0)])
    raise AssertionError(f"no value is known for {schema}")


def _number(schema: Mapping[str, Any], chance: random.Random) -> int | float:
    low, high = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))
    return chance.choice(
        [n for n in NUMBERS if low <= n <= high and (schema["type"] == "number" or isinstance(n, int))]
    )
