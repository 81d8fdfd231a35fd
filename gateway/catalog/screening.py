"""What makes a tool definition hostile: it stays out of every list until a person has looked.

A definition is attacker text (SECURITY.md §1.3, CONNECTORS.md §3).
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from gateway.catalog.validation import SchemaRefused, accept_schema
from gateway.codec import CodecError, dump
from gateway.model.operation import ACTION_OF

__all__ = ["hidden_characters", "screen"]

_MAX_BYTES: Final = 256 * 1024
_MAX_NAME: Final = 128
_MAX_DEPTH: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,128}")
_HIDDEN_CATEGORIES: Final = {"Cf", "Co", "Cn", "Cs"}
_PLAIN_CONTROLS: Final = {"\n", "\t", "\r"}
_VISIBLE_FORMAT: Final = {"\u200d"}  # the joiner inside emoji


def screen(definition: Mapping[str, Any]) -> str:
    """Return why the definition must not be listed, in words for a person, or an empty string."""
    if wrong := _wrong_name(definition.get("name")):
        return wrong
    try:
        size = len(dump(definition))
    except CodecError:
        return "its definition is not JSON"
    if size > _MAX_BYTES:
        return f"its definition is {size} bytes (limit {_MAX_BYTES})"
    if _depth(definition) > _MAX_DEPTH:
        return f"its definition nests deeper than {_MAX_DEPTH}"
    if hidden := hidden_characters(definition):
        return f"its text holds invisible characters: {hidden}"
    for field, required in (("inputSchema", True), ("outputSchema", False)):
        schema = definition.get(field)
        if schema is None and not required:
            continue
        if not isinstance(schema, Mapping):
            return f"its {field} is not an object"
        try:
            accept_schema(schema)
        except SchemaRefused as error:
            return f"its {field} is refused: {error}"
    return ""


def _wrong_name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"its name is outside [A-Za-z0-9_./-]{{1,{_MAX_NAME}}}"
    if name in ACTION_OF:
        return f"its name, {name}, is that of an MCP method: policies and records could not tell the two apart"
    return ""


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        below: list[Any] = []
        for node in level:
            if isinstance(node, Mapping):
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        level = below
    return depth


def hidden_characters(definition: Mapping[str, Any]) -> str:
    """Name the first few characters that a person reading the definition would not see; empty where there are none."""
    found: list[str] = []
    stack: list[Any] = [definition]
    while stack and len(found) < 4:
        node = stack.pop()
        if isinstance(node, Mapping):
            stack.extend(node.keys())
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, str) and not (node.isascii() and node.isprintable()):
            found.extend(f"U+{ord(c):04X}" for c in node if _is_hidden(c))
    return ", ".join(found[:4])


def _is_hidden(char: str) -> bool:
    category = unicodedata.category(char)
    if category == "Cc":
        return char not in _PLAIN_CONTROLS
    return category in _HIDDEN_CATEGORIES and char not in _VISIBLE_FORMAT
