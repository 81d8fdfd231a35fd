"""An API description as text becomes one document; nothing it refers to is ever fetched."""

import re
from collections.abc import Hashable, Mapping
from math import isfinite
from typing import Any, ClassVar, Final
from urllib.parse import unquote

import yaml

from gateway.connector import CodecError, parse, plain

__all__ = ["Document", "SpecRefused"]

_MAX_NODES: Final = 1_000_000
_MAX_HOPS: Final = 32
_BASE: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_BOOL: Final = "tag:yaml.org,2002:bool"
_DATE: Final = "tag:yaml.org,2002:timestamp"
_MERGE: Final = "tag:yaml.org,2002:merge"
_TRUTH: Final = re.compile(r"true|True|TRUE|false|False|FALSE")  # `on` and `no` are words


class SpecRefused(ValueError):
    """The description cannot be used; the text says what of it, and why."""


class _Loader(_BASE):  # type: ignore[misc,valid-type]  # which of the two there is depends on the machine
    """YAML as far as it says what JSON says: text stays text, a date too, and no key stands twice."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, _TRUTH if tag == _BOOL else pattern) for tag, pattern in resolvers if tag != _DATE]
        for first, resolvers in _BASE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Build an object; its keys are text."""
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE or key_node.value in found:
                problem = "a key is no text, merges another object, or stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
            found[key_node.value] = self.construct_object(value_node, deep=deep)
        return found


class Document:
    """An OpenAPI 3.0, 3.1 or Swagger 2.0 description. `dialect` is `2.0`, `3.0` or `3.1`."""

    def __init__(self, root: Any) -> None:
        if not isinstance(root, Mapping):
            raise SpecRefused("the description is no object")
        self.root: Mapping[str, Any] = root
        said = str(root.get("openapi", root.get("swagger", "")))
        self.dialect = said[:3]
        if self.dialect not in {"2.0", "3.0", "3.1"}:
            raise SpecRefused(f"OpenAPI 3.0, 3.1 or Swagger 2.0 is needed, not {said[:20]!r}")
        if not isinstance(root.get("paths"), Mapping):
            raise SpecRefused("the description has no paths")

    @classmethod
    def read(cls, text: bytes) -> "Document":
        """Read JSON or YAML.

        Raises:
            SpecRefused: it is neither, or no description of a known version.
        """
        try:
            root = parse(text) if text.lstrip()[:1] == b"{" else yaml.load(text, _Loader)  # noqa: S506  # a safe one
        except (CodecError, yaml.YAMLError, RecursionError, ValueError) as error:
            raise SpecRefused(f"the description is neither JSON nor YAML: {plain(error, 200)}") from None
        _bound(root)
        return cls(root)

    def at(self, pointer: str) -> Any:
        """Return what a `$ref` leads to, as it stands there.

        Raises:
            SpecRefused: it leads out of the document, or nowhere.
        """
        if not pointer.startswith("#/"):
            raise SpecRefused(f"{pointer[:100]!r} refers to something outside the description, which is never fetched")
        found: Any = self.root
        for step in pointer[2:].split("/"):
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise SpecRefused(f"{pointer[:100]!r} refers to nothing") from None
        return found

    def followed(self, node: Any) -> Mapping[str, Any]:
        """Return the object that `node` is, or that its `$ref`s lead to.

        Raises:
            SpecRefused: they lead in a circle, out of the document or to something that is no object.
        """
        for _ in range(_MAX_HOPS):
            if not isinstance(node, Mapping):
                raise SpecRefused("something is not an object where one must be")
            if not isinstance(node.get("$ref"), str):
                return node
            node = self.at(node["$ref"])
        raise SpecRefused("references lead in a circle")


def _bound(root: Any) -> None:
    """Refuse what is no JSON, and what a few aliases blow up beyond any use."""
    left, level = _MAX_NODES, [root]
    while level:
        node = level.pop()
        left -= 1
        if isinstance(node, dict):
            level.extend(node.values())
        elif isinstance(node, list):
            level.extend(node)
        elif not (node is None or isinstance(node, str | int) or (isinstance(node, float) and isfinite(node))):
            raise SpecRefused(f"the description holds something that JSON cannot: {type(node).__name__}")
        if left < 0:
            raise SpecRefused("the description is too large")
