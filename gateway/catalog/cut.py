"""What the list says of a tool whose answers may be cut: clients hold structured content against its output schema."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["CUT", "or_cut"]

CUT: Final = "io.toolgate/cut"
"""The key under which a cut answer says so, in `_meta` and instead of its structured content."""

_CUT_SCHEMA: Final = {
    "type": "object",
    "description": "The answer was too large: this says how to read it with results_read.",
    "properties": {CUT: {"type": "object"}},
    "required": [CUT],
}
_DEFINITIONS: Final = ("$defs", "definitions")
_OF_THE_ROOT: Final = ("$schema", *_DEFINITIONS)
_ANCHORS: Final = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"})


def or_cut(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a definition that also allows for what stands in place of structured content too large to be given.

    A schema whose references would lead elsewhere from one level deeper is left out: without one, clients take any.
    """
    schema = definition.get("outputSchema")
    if schema is None:
        return definition
    if not isinstance(schema, Mapping) or not _can_move(schema):
        return {name: value for name, value in definition.items() if name != "outputSchema"}
    root = {name: schema[name] for name in _OF_THE_ROOT if name in schema}
    whole = {name: value for name, value in schema.items() if name not in _OF_THE_ROOT}
    return {**definition, "outputSchema": {**root, "type": "object", "anyOf": [whole, _CUT_SCHEMA]}}


def _can_move(node: Any) -> bool:
    if isinstance(node, Mapping):
        target = node.get("$ref")
        inside = not isinstance(target, str) or target.startswith(tuple(f"#/{name}/" for name in _DEFINITIONS))
        return inside and _ANCHORS.isdisjoint(node) and all(_can_move(value) for value in node.values())
    return all(_can_move(item) for item in node) if isinstance(node, list) else True
