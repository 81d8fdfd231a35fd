"""The schemas of a description as JSON Schema 2020-12, complete in themselves."""

import re
from collections.abc import Mapping
from typing import Any, Final

from connectors.openapi.document import Document, SpecRefused

__all__ = ["Schemas"]

_MAX_DEPTH: Final = 50
_MAX_DEFINITIONS: Final = 500
_ONE: Final = frozenset(
    {"additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"}
    | {"unevaluatedProperties", "unevaluatedItems"}
)
_LIST: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAP: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_DATA: Final = frozenset(
    {"type", "enum", "const", "default", "title", "description", "format", "pattern", "required", "uniqueItems"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"}
    | {"minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains", "dependentRequired"}
    | {"deprecated", "contentEncoding", "contentMediaType"}
)
_ELSEWHERE: Final = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"})
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.-]")


class Schemas:
    """Translates the schemas of one tool. What `$ref`s lead to is collected once each, so circles stay circles.

    `hidden` is the marker of properties that stay out: `readOnly` in a request, `writeOnly` in an answer.
    """

    def __init__(self, document: Document, hidden: str) -> None:
        self._document = document
        self._hidden = hidden
        self._names: dict[str, str] = {}
        self._waiting: list[str] = []

    def with_definitions(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return `schema`, made of `part`s, with what they refer to in its `$defs`.

        Raises:
            SpecRefused: it leads out of the document, or has no end.
        """
        definitions: dict[str, Any] = {}
        while self._waiting:
            pointer = self._waiting.pop()
            definitions[self._names[pointer]] = self.part(self._document.at(pointer))
            if len(definitions) > _MAX_DEFINITIONS:
                raise SpecRefused(f"a schema needs more than {_MAX_DEFINITIONS} others")
        return {**schema, "$defs": dict(sorted(definitions.items()))} if definitions else schema

    def part(self, node: Any, depth: int = 0) -> dict[str, Any]:
        """Return one schema, its references leading into `$defs`."""
        if isinstance(node, bool):
            return {} if node else {"not": {}}
        if not isinstance(node, Mapping) or depth > _MAX_DEPTH:
            raise SpecRefused("a schema is no object, or nests too deep")
        if not _ELSEWHERE.isdisjoint(node):
            raise SpecRefused(f"{min(_ELSEWHERE & set(node))} in a schema is not understood")
        if isinstance(node.get("$ref"), str):
            return self._reference(node, depth)
        return self._nullable(node, self._keywords(node, depth))

    def _reference(self, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
        pointer = node["$ref"]
        if pointer not in self._names:
            self._document.at(pointer)
            self._names[pointer] = self._free_name(pointer)
            self._waiting.append(pointer)
        beside = self._keywords(node, depth) if self._document.dialect == "3.1" else {}
        return {"$ref": f"#/$defs/{self._names[pointer]}", **beside}

    def _free_name(self, pointer: str) -> str:
        name = stem = _FOREIGN.sub("_", pointer.rpartition("/")[2])[:80] or "schema"
        number = 1
        while name in self._names.values():
            number += 1
            name = f"{stem}_{number}"
        return name

    def _keywords(self, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key in _DATA:
                found[key] = value
            elif key in _ONE:
                found[key] = value if isinstance(value, bool) else self.part(value, depth + 1)
            elif key in _LIST and isinstance(value, list):
                found[key] = [self.part(each, depth + 1) for each in value]
            elif key in _MAP and isinstance(value, Mapping):
                found[key] = self._members(value, depth, hide=key == "properties")
            elif key == "items":
                found[key] = self.part(value, depth + 1)
        if "properties" in found and isinstance(found.get("required"), list):
            gone = set(node["properties"]) - set(found["properties"])
            found["required"] = [name for name in found["required"] if name not in gone]
        return found

    def _members(self, members: Mapping[str, Any], depth: int, *, hide: bool) -> dict[str, Any]:
        return {
            name: self.part(each, depth + 1)
            for name, each in members.items()
            if not (hide and isinstance(each, Mapping) and each.get(self._hidden) is True)
        }

    def _nullable(self, node: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
        """Say in today's words what 3.0 said in others; `x-nullable` is Swagger 2.0's."""
        if self._document.dialect == "3.1":
            return schema
        if schema.get("type") == "file":
            schema["type"] = "string"
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
                schema[exclusive] = schema.pop(bound)
        if node.get("nullable") is not True and node.get("x-nullable") is not True:
            return schema
        return {"anyOf": [schema, {"type": "null"}]} if "type" not in schema else _or_null(schema)


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema
