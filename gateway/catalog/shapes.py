"""The shape of answers that no schema describes: which fields there are, of which JSON types, and which always.

It is learnt from answers, and later ones are held against it. A field that comes new is no drift; one that was always
there and is missing is, and so is one of a type that it never had. Places are JSON pointers, with `*` for every element
of a list: `/items/*/price`. Of very large answers only a part is looked at, the same part each time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.catalog.fields import structured

__all__ = ["ENOUGH", "Learner", "Shape"]

ENOUGH: Final = 20
"""So many answers make a shape."""

_DEPTH: Final = 8
_ELEMENTS: Final = 50
_KEYS: Final = 100
_PLACES: Final = 300
_LETTERS: Final = 64
_NAMED: Final = 10
_UNSTRUCTURED: Final = "unstructured"
_KINDS: Final[Mapping[type, str]] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    type(None): "null",
    object: _UNSTRUCTURED,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """By place: the types that were seen there. `always` are the places that no object lacked that could have them."""

    types: Mapping[str, frozenset[str]]
    always: frozenset[str]

    @classmethod
    def told(cls, body: Mapping[str, Any]) -> "Shape":
        """Return the shape that `tell` wrote. Raises `KeyError`, `TypeError` for anything else."""
        return cls({place: frozenset(types) for place, types in body["types"].items()}, frozenset(body["always"]))

    def tell(self) -> dict[str, Any]:
        """Return it as JSON."""
        types = {place: sorted(types) for place, types in sorted(self.types.items())}
        return {"types": types, "always": sorted(self.always)}

    def differences(self, result: Mapping[str, Any]) -> Sequence[str]:
        """Return what of an MCP result is not of this shape, the first few places; nothing for one that is."""
        found: dict[str, None] = {}
        children: dict[str, list[str]] = {}
        for place in self.always:
            children.setdefault(place.rpartition("/")[0], []).append(place)
        for place, kind, names in _walk(structured(result)):
            known = self.types.get(place)
            if known is not None and kind not in known:
                found[f"{place or 'the answer'} is {kind}, was {' or '.join(sorted(known))}"] = None
            elif names is not None:
                missing = (each for each in children.get(place, ()) if each.rpartition("/")[2] not in names)
                found |= {f"{each} is missing": None for each in missing}
        return sorted(found)[:_NAMED]


@dataclass(slots=True)
class _Seen:
    types: set[str] = field(default_factory=set)
    present: int = 0
    objects: int = 0


class Learner:
    """Learns a shape from answers, one after the other."""

    def __init__(self) -> None:
        self.answers = 0
        self._seen: dict[str, _Seen] = {}

    def learn(self, result: Mapping[str, Any]) -> Shape | None:
        """Take one more answer in; return the shape once there were enough.

        Answers with more places than can be told, such as tables by key, come to a shape that nothing differs from.
        """
        self.answers += 1
        for place, kind, names in _walk(structured(result)):
            seen = self._at(place)
            seen.types.add(kind)
            if names is not None:
                seen.objects += 1
                for name in names:
                    self._at(f"{place}/{name}").present += 1
        return self._shape() if self.answers >= ENOUGH else None

    def _at(self, place: str) -> _Seen:
        if len(self._seen) >= _PLACES and place not in self._seen:
            return _Seen()  # of no account: it is too much already
        return self._seen.setdefault(place, _Seen())

    def _shape(self) -> Shape:
        if len(self._seen) >= _PLACES:
            return Shape({}, frozenset())
        always = (
            place
            for place, seen in self._seen.items()
            if seen.present and seen.present == self._seen[place.rpartition("/")[0]].objects
        )
        return Shape({place: frozenset(seen.types) for place, seen in self._seen.items()}, frozenset(always))


def _walk(value: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """Yield the place and type of a value and of what is in it; for an object that is looked into, its names too."""
    kind = _KINDS.get(type(value), _UNSTRUCTURED)
    looked_into = depth < _DEPTH and isinstance(value, dict) and len(value) <= _KEYS
    named = {_name(key): each for key, each in value.items()} if looked_into else {}
    yield place, kind, frozenset(named) if looked_into else None
    for name, each in named.items():
        yield from _walk(each, f"{place}/{name}", depth + 1)
    if isinstance(value, list) and depth < _DEPTH:
        for each in value[:_ELEMENTS]:
            yield from _walk(each, f"{place}/*", depth + 1)


def _name(key: str) -> str:
    return key[:_LETTERS].replace("~", "~0").replace("/", "~1")
