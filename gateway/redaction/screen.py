"""Whether one of many words is in a text: the question that every call is asked, whose answer is nearly always no.

The engine is Rust's, as pydantic has it: it reads a text once, whatever is looked for, where `in` reads it for every
word and Python's own engine takes a hundred times as long.
"""

import re
from collections.abc import Callable, Iterable

from pydantic_core import SchemaValidator, core_schema

__all__ = ["any_of", "spelled"]


def any_of(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return what tells whether a text holds what one of `patterns` describes, in upper or in lower case."""
    pattern = f"(?i){'|'.join(patterns)}"
    holds = SchemaValidator(core_schema.str_schema(strict=True, pattern=pattern)).isinstance_python

    def is_in(text: str) -> bool:
        return holds(text if text.isascii() else _readable(text))

    return is_in


def spelled(word: str, between: str = "") -> str:
    """Return the pattern of a word, with any number of the characters of `between` inside of it."""
    return (f"[{re.escape(between)}]*" if between else "").join(map(re.escape, word))


def _readable(text: str) -> str:
    """Return a text in lower case as Python has it, and without lone surrogates: with those it would be no text."""
    return text.lower().encode("utf-8", "replace").decode()
