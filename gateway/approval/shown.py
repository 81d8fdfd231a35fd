"""What a person is shown of a call: all of it, in one order, and nothing that hides or turns what it says."""

import json
import unicodedata
from typing import Any, Final

__all__ = ["as_written", "laid_out", "unusual", "visible"]

_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u2800\u3164\uffa0")
"""Characters that are letters or marks by name, and nothing to see."""


def visible(text: str) -> str:
    """Return `text` with every character that cannot be seen, or that changes how others are, as its escape.

    That is whatever is no letter, mark, number, sign or plain space: controls, bidi and zero-width characters, tags,
    blanks of any width, private and unassigned code points; and variation selectors.
    """
    return text.translate({ord(char): _escape(char) for char in set(text) if not _is_plain(char)})


def laid_out(value: Any) -> list[str]:
    """Return a JSON value as lines: whole, its keys in canonical order (RFC 8785), every character visible.

    A backslash in a text is doubled, as JSON has it: an escape cannot be mistaken for what it stands for.
    """
    return as_written(_sorted(value))


def as_written(value: Any) -> list[str]:
    """Return a JSON value as lines as `laid_out` does, its keys in the order in which they were given."""
    return [visible(line) for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n")]


def unusual(text: str) -> list[str]:
    """Return every kind of character beyond ASCII in what is shown, with its name: some look like quite another."""
    kinds = sorted({char for char in text if char > "\x7f"})
    return [f"{char} {unicodedata.name(char, f'U+{ord(char):04X}')}" for char in kinds]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: _sorted(value[key]) for key in keys}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


def _is_plain(char: str) -> bool:
    if char == " " or " " < char < "\x7f":
        return True
    if char in _BLANK or "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef":
        return False
    return unicodedata.category(char)[0] not in "CZ"


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
