"""What makes a tool definition hostile: it stays out of every list until a person has looked.

A definition is attacker text (SECURITY.md §1.3, CONNECTORS.md §3).
"""

import re
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
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
_JOINER: Final = "\u200d"
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters and marks by name, and nothing to see."""

_EITHER_STYLE: Final = frozenset("#*0123456789")
"""What is plain text or an emoji, as the selector behind it says."""


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
            found.extend(f"U+{ord(char):04X}" for before, char in pairwise(f"\0{node}") if _is_hidden(before, char))
    return ", ".join(found[:4])


def _is_hidden(before: str, char: str) -> bool:
    """Tell whether a character cannot be seen, nor what it does to the one before: whole texts are written in such."""
    category = unicodedata.category(char)
    if category == "Cc":
        return char not in _PLAIN_CONTROLS
    if char == _JOINER:  # inside emoji, and between letters of scripts that join them
        return before.isascii() or before == _JOINER
    if _selects(char):
        return _selects(before) or not _has_forms(before, char)
    return category in _HIDDEN_CATEGORIES or char in _BLANK


def _selects(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _has_forms(char: str, selector: str) -> bool:
    """Tell whether a variation selector may do something to a character: most are for signs, the last 240 for Han."""
    if selector > "\uffff":
        return unicodedata.category(char) == "Lo" and char >= "\u2e80"
    return char in _EITHER_STYLE or not char.isascii()
