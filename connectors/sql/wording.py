"""The plain form in which a statement is accepted: a text that every parser must read in the same way."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.connector import Rejected

__all__ = ["MOST_CHARACTERS", "Wording", "read_wording"]

MOST_CHARACTERS: Final = 10_000
_DEEPEST: Final = 40
_PIECE: Final = re.compile(
    r"""(?P<text>'(?:[^']|'')*')
      | (?P<name>"(?:[^"]|"")+")
      | (?P<cast>::)
      | (?P<parameter>:[A-Za-z_][A-Za-z0-9_]*)
      | (?P<word>[A-Za-z_0-9]+)
      | (?P<comment>--|/\*|\*/)
      | (?P<space>[ \t\r\n]+)
      | (?P<mark>[-+*/%<>=!~^&|@\#?,.():;\[\]])
    """,
    re.VERBOSE,
)
_PREFIXES: Final = re.compile(r"[A-Za-z0-9_$&]$")


@dataclass(frozen=True, slots=True)
class Wording:
    """A statement in plain form, without its last semicolon: the pieces of its text, in order, each with its kind."""

    pieces: tuple[tuple[str, str], ...]

    @property
    def sql(self) -> str:
        """The statement as it was written."""
        return "".join(text for _, text in self.pieces)

    @property
    def strings(self) -> tuple[str, ...]:
        """What its string literals say."""
        return tuple(text[1:-1].replace("''", "'") for kind, text in self.pieces if kind == "text")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names written as `:name`, each once, in order."""
        return tuple(dict.fromkeys(text[1:] for kind, text in self.pieces if kind == "parameter"))

    def numbered(self, places: Mapping[str, str]) -> str:
        """Return the statement with each `:name` that `places` knows replaced.

        Any other `:name` stays as it is: it is the end of an array slice.
        """
        return "".join(places.get(text[1:], text) if kind == "parameter" else text for kind, text in self.pieces)


def read_wording(sql: str, *, brackets: bool) -> Wording:
    """Return the statement's wording. `brackets` says that `[` starts a subscript, not a quoted name.

    Raises:
        Rejected: it is too long, or has comments, escapes, a second statement, or characters outside quotes that
            databases do not agree on.
    """
    if len(sql) > MOST_CHARACTERS:
        raise Rejected(f"The statement is longer than {MOST_CHARACTERS} characters.")
    pieces = tuple(_pieces(sql))
    while pieces and (pieces[-1][0] == "space" or pieces[-1][1] == ";"):
        pieces = pieces[:-1]
    if any(text == ";" for _, text in pieces):
        raise Rejected("One statement at a time: there is a semicolon inside this one.")
    if not brackets and any(text in {"[", "]"} for _, text in pieces):
        raise Rejected('Square brackets are not accepted: quote names as "name".')
    _balanced(pieces)
    return Wording(pieces)


def _pieces(sql: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(sql):
        found = _PIECE.match(sql, at)
        if found is None:
            raise Rejected(f"Character {at + 1} of the statement ({sql[at]!a}) is not accepted outside quotes.")
        kind, text = str(found.lastgroup), found[0]
        if kind == "comment":
            raise Rejected("Comments are not accepted: leave them out of the statement.")
        if kind in {"text", "name"}:
            _quoted(text, sql[:at][-2:])
        yield kind, text
        at = found.end()


def _quoted(text: str, before: str) -> None:
    if _PREFIXES.search(before):
        raise Rejected("A prefix before a quote (E'', U&'', x'') is not accepted: bind the value as a parameter.")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise Rejected("The statement has characters that are no text.")


def _balanced(pieces: tuple[tuple[str, str], ...]) -> None:
    depth = 0
    for kind, text in pieces:
        if kind == "mark":
            depth += (text in {"(", "["}) - (text in {")", "]"})
        if depth > _DEEPEST:
            raise Rejected(f"The statement nests deeper than {_DEEPEST} parentheses.")
        if depth < 0:
            raise Rejected("The statement closes a parenthesis that it did not open.")
