"""JSON Schemas of pinned tools as the Cedar types that policies see (POLICY.md §4).

A tool's schema is text from a stranger: references stay inside it, recursion and size are bounded, and what has no
exact Cedar type (unions, free-form objects, recursion) has none: its values are reported as unmodelled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote

__all__ = ["Field", "Kind", "Shape", "cedar_counts", "cedar_type", "field_at", "record_of"]

_MAX_DEPTH: Final = 16
_MAX_NODES: Final = 2000
_MAX_NAME: Final = 256


class Kind(StrEnum):
    """The Cedar types arguments can have."""

    STRING = "String"
    LONG = "Long"
    BOOL = "Boolean"
    DECIMAL = "decimal"
    DATETIME = "datetime"
    RECORD = "Record"
    SET = "Set"


@dataclass(frozen=True, slots=True)
class Shape:
    """The Cedar type of a value. `fields` belong to a record, `element` to a set.

    A set without an element type is an array whose elements have no exact type: it is counted but not shown.
    """

    kind: Kind
    fields: Mapping[str, "Field"] = field(default_factory=dict)
    element: "Shape | None" = None


@dataclass(frozen=True, slots=True)
class Field:
    """A declared property. `shape` is None where it has no exact type. A nullable property is never required."""

    shape: Shape | None
    required: bool


@dataclass(frozen=True, slots=True)
class _Found:
    shape: Shape | None
    nullable: bool = False


_SCALARS: Final[Mapping[str, Kind]] = {
    "string": Kind.STRING,
    "integer": Kind.LONG,
    "number": Kind.DECIMAL,
    "boolean": Kind.BOOL,
}
_EMPTY: Final = Shape(Kind.RECORD)


def record_of(schema: Mapping[str, Any] | None) -> Shape:
    """Return the record that `schema` describes; an empty one where it describes none."""
    found = _Reader(schema or {}).read(schema or {}, 0, ())
    return found.shape if found.shape is not None and found.shape.kind is Kind.RECORD else _EMPTY


def field_at(shape: Shape, path: Sequence[str]) -> Field | None:
    """Return the property at `path`; its `required` tells whether every step on the way is; None if undeclared."""
    required = True
    here: Shape | None = shape
    for name in path:
        found = here.fields.get(name) if here is not None else None
        if found is None:
            return None
        required = required and found.required
        here = found.shape
    return Field(here, required)


def cedar_type(shape: Shape) -> dict[str, Any]:
    """Return the shape as a type of Cedar's JSON schema format."""
    if shape.kind is Kind.RECORD:
        typed = {name: (entry.shape, entry.required) for name, entry in shape.fields.items() if _is_shown(entry.shape)}
        return _record({name: (cedar_type(inner), required) for name, (inner, required) in typed.items() if inner})
    if shape.kind is Kind.SET:
        assert shape.element is not None
        return {"type": "Set", "element": cedar_type(shape.element)}
    if shape.kind in {Kind.DECIMAL, Kind.DATETIME}:
        return {"type": "Extension", "name": str(shape.kind)}
    return {"type": str(shape.kind)}


def cedar_counts(shape: Shape) -> dict[str, Any]:
    """Return the type of `context.n` beside a record: a Long per array, a record per object that holds arrays."""
    found: dict[str, tuple[dict[str, Any], bool]] = {}
    for name, entry in shape.fields.items():
        if entry.shape is not None and entry.shape.kind is Kind.SET:
            found[name] = ({"type": "Long"}, entry.required)
        elif entry.shape is not None and entry.shape.kind is Kind.RECORD:
            below = cedar_counts(entry.shape)
            if below["attributes"]:
                found[name] = (below, entry.required)
    return _record(found)


def _record(attributes: Mapping[str, tuple[dict[str, Any], bool]]) -> dict[str, Any]:
    members = {name: {**inner, "required": required} for name, (inner, required) in attributes.items()}
    return {"type": "Record", "attributes": members}


def _is_shown(shape: Shape | None) -> bool:
    return shape is not None and (shape.kind is not Kind.SET or shape.element is not None)


class _Reader:
    """Reads one schema; counts nodes, so that references cannot multiply without end."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def read(self, schema: Any, depth: int, inside: tuple[str, ...]) -> _Found:
        self._nodes += 1
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            return _Found(None)
        reference = schema.get("$ref")
        if reference is not None:
            return self._referenced(reference, depth, inside)
        types = _types(schema)
        if types is None:
            return self._untyped(schema, depth, inside)
        nullable = "null" in types
        types = [kind for kind in types if kind != "null"]
        if len(types) != 1:
            return _Found(None, nullable)
        return _Found(self._typed(types[0], schema, depth, inside), nullable)

    def _referenced(self, reference: Any, depth: int, inside: tuple[str, ...]) -> _Found:
        if not isinstance(reference, str) or reference in inside:
            return _Found(None)
        return self.read(_follow(self._root, reference), depth + 1, (*inside, reference))

    def _untyped(self, schema: Mapping[str, Any], depth: int, inside: tuple[str, ...]) -> _Found:
        for keyword in ("anyOf", "oneOf", "allOf"):
            branches = schema.get(keyword)
            if isinstance(branches, list) and branches:
                return self._united([self.read(branch, depth + 1, inside) for branch in branches], branches)
        return _Found(None)

    def _united(self, found: Sequence[_Found], branches: Sequence[Any]) -> _Found:
        rest = [one for one, branch in zip(found, branches, strict=True) if not _is_null(branch)]
        nullable = len(rest) < len(found) or any(one.nullable for one in rest)
        if not rest or any(one.shape != rest[0].shape for one in rest):
            return _Found(None, nullable)
        return _Found(rest[0].shape, nullable)

    def _typed(self, kind: Any, schema: Mapping[str, Any], depth: int, inside: tuple[str, ...]) -> Shape | None:
        if kind == "object":
            return self._object(schema, depth, inside)
        if kind == "array":
            element = self.read(schema.get("items"), depth + 1, inside)
            shown = element.shape if not element.nullable and _is_shown(element.shape) else None
            return Shape(Kind.SET, element=shown)
        if kind == "string" and schema.get("format") == "date-time":
            return Shape(Kind.DATETIME)
        scalar = _SCALARS.get(kind) if isinstance(kind, str) else None
        return None if scalar is None else Shape(scalar)

    def _object(self, schema: Mapping[str, Any], depth: int, inside: tuple[str, ...]) -> Shape:
        properties = schema.get("properties")
        required = schema.get("required")
        names = frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else ()
        fields: dict[str, Field] = {}
        for name, inner in properties.items() if isinstance(properties, Mapping) else ():
            if is_nameable(name):
                found = self.read(inner, depth + 1, inside)
                fields[name] = Field(found.shape, name in names and not found.nullable)
        return Shape(Kind.RECORD, fields)


def is_nameable(name: Any) -> bool:
    """Tell whether a property may be an attribute: Cedar keeps names with two leading underscores for itself."""
    if not isinstance(name, str) or name.startswith("__") or len(name) > _MAX_NAME:
        return False
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _types(schema: Mapping[str, Any]) -> list[Any] | None:
    """Return the JSON types a schema names or implies, None where it names none."""
    named = schema.get("type")
    if named is not None:
        return named if isinstance(named, list) else [named]
    values = schema.get("enum") if "enum" in schema else [schema["const"]] if "const" in schema else None
    if isinstance(values, list):
        return sorted({_type_of(value) for value in values})
    return ["object"] if isinstance(schema.get("properties"), Mapping) else None


def _type_of(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "any")


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and _types(schema) == ["null"]


def _follow(root: Mapping[str, Any], reference: str) -> Any:
    """Return what a JSON pointer fragment names in `root`; None for anything else, remote references above all."""
    if not reference.startswith("#"):
        return None
    here: Any = root
    for part in unquote(reference[1:]).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        here = here.get(name) if isinstance(here, Mapping) else None
    return here
