"""Arguments that a careless server would take for declared ones, while policies see no such argument.

Go's encoding/json and .NET's web defaults read `Amount` as `amount`, protobuf's JSON reads `payeeId` as `payee_id`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

__all__ = ["RepeatsTooMuch", "spelling"]

_TOGETHER: Final = ("allOf", "anyOf", "oneOf")
_DECLARING: Final = frozenset({"properties", "items", "$ref", *_TOGETHER})
_MOST: Final = 100_000
"""Subschemas and declared names, however often references repeat them: a fifth of a second, and some 30 MB."""

_DASHES: Final = str.maketrans("", "", "_-")


class RepeatsTooMuch(ValueError):
    """References in the schema repeat so many names in so many places that they cannot be kept."""


@dataclass(slots=True, eq=False)
class _Declared:
    """What a schema declares of an object: its names, which of them a name is read as, and what is below.

    `items` is what it declares of each element, where there may be an array instead.
    """

    names: set[str] = field(default_factory=set)
    read: dict[str, str] = field(default_factory=dict)
    below: dict[str, "_Declared"] = field(default_factory=dict)
    items: "_Declared | None" = None


def spelling(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """Return a function that says which declared name a value has in another spelling, or returns an empty string.

    Another spelling is one with other letter case, underscores and dashes. A name that is declared too is itself.

    Raises:
        RepeatsTooMuch: see there.
    """
    return partial(_misspelt, _Reading(schema).declared, "")


def _misspelt(declared: _Declared, where: str, value: Any) -> str:
    if isinstance(value, list) and declared.items is not None:
        found = (_misspelt(declared.items, f"{where}/{number}", each) for number, each in enumerate(value))
        return next(filter(None, found), "")
    if not isinstance(value, dict):
        return ""
    if not declared.below and value.keys() <= declared.names:
        return ""
    for name in value.keys() - declared.names:
        if meant := declared.read.get(_read(name)):
            return f'at {where or "/"}: "{meant[:200]}" is spelled otherwise: write it as the schema does'
    given = ((name, below) for name, below in declared.below.items() if name in value)
    return next(filter(None, (_misspelt(below, f"{where}/{name}", value[name]) for name, below in given)), "")


def _read(name: str) -> str:
    return name.translate(_DASHES).casefold()


class _Reading:
    """Reads a schema, each part of it once: what refers to itself too."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[int, _Declared] = {}
        self._unread: list[tuple[Any, _Declared]] = []
        self._left = _MOST
        self.declared = self._declared(root)
        while self._unread:
            self._fill(*self._unread.pop())

    def _declared(self, schema: Any) -> _Declared:
        if isinstance(schema, dict) and schema.keys() & _DECLARING == {"$ref"}:
            schema = self._led_to(schema["$ref"])  # once for all that refer to it
        found = self._known.get(id(schema))
        if found is None:
            self._known[id(schema)] = found = _Declared()
            self._unread.append((schema, found))
        return found

    def _fill(self, schema: Any, found: _Declared) -> None:
        for part in self._parts(schema):
            properties = part["properties"] if isinstance(part.get("properties"), dict) else {}
            self._left -= 1 + len(properties)
            if self._left < 0:
                raise RepeatsTooMuch("its references repeat more declared names than can be kept")
            for name, below in properties.items():
                found.names.add(name)
                found.read.setdefault(_read(name), name)
                if isinstance(below, dict) and not _is_plain(below):
                    found.below.setdefault(name, self._declared(below))
            if isinstance(part.get("items"), dict):
                found.items = found.items or self._declared(part["items"])

    def _parts(self, schema: Any) -> Iterator[Mapping[str, Any]]:
        """Yield a schema and all others for the same place."""
        stack, seen = [schema], set[int]()
        while stack:
            part = stack.pop()
            if not isinstance(part, dict) or id(part) in seen:
                continue
            seen.add(id(part))
            yield part
            stack.append(self._led_to(part.get("$ref")))
            stack.extend(each for word in _TOGETHER if isinstance(part.get(word), list) for each in part[word])

    def _led_to(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not f"{reference}/".startswith("#/"):
            return None
        here: Any = self._root
        for step in reference.split("/")[1:]:
            here = here.get(unquote(step).replace("~1", "/").replace("~0", "~")) if isinstance(here, dict) else None
        return here


def _is_plain(schema: Mapping[str, Any]) -> bool:
    """Whether nothing can be declared below: nearly every argument."""
    return schema.keys().isdisjoint(_DECLARING)
