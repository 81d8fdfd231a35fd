"""YAML 1.2 as plain data that remembers where each part of it stands.

What YAML 1.1 guesses is text here: `on`, `yes`, `12:30` and `2026-11-21` are strings. Keys are texts and unique;
tags and merge keys are refused; aliases are bounded, so that a small file cannot unfold into a huge one.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.config.problem import ConfigError
from gateway.model.problem import Problem

__all__ = ["Document", "Place", "Trail", "parse", "read"]

Trail = tuple[str | int, ...]
"""The keys and indexes that lead to a part of a document."""
Place = tuple[int, int]
"""Line and column, from 1."""

MAX_BYTES: Final = 1_000_000
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 50
_TAG: Final = "tag:yaml.org,2002:"
_CORE: Final = (
    ("null", re.compile(r"~|null|Null|NULL|")),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    ("float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")),
)
_KNOWN_TAGS: Final = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "str", "map", "seq"))


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its data (None when empty), and the places of its keys and values."""

    file: str
    data: Any = field(repr=False)
    keys: Mapping[Trail, Place] = field(repr=False)
    values: Mapping[Trail, Place] = field(repr=False)

    def place(self, trail: Trail, *, key: bool = False) -> Place:
        """Return where the part (or its key) stands; for what is not there, where the nearest part around it does."""
        places = self.keys if key else self.values
        while trail and trail not in places:
            trail, places = trail[:-1], self.keys
        return places.get(trail, (1, 1))

    def problem(self, trail: Trail, code: str, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """Return a problem with the part at `trail`."""
        line, column = self.place(trail, key=key)
        return Problem(self.file, line, column, code, message, hint)


class _Core(
    yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer, yaml.resolver.BaseResolver
):
    """PyYAML's composer with the YAML 1.2 core schema for plain scalars."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        yaml.resolver.BaseResolver.__init__(self)

    def scan_to_next_token(self) -> None:
        """A tab may stand between the tokens of pasted JSON, though never in indentation."""
        super().scan_to_next_token()
        while self.flow_level and self.peek() == "\t":
            self.forward()
            super().scan_to_next_token()

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is yaml.nodes.ScalarNode and implicit[0]:
            return _TAG + next((name for name, pattern in _CORE if pattern.fullmatch(value)), "str")
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]  # the stubs leave it open


def read(path: Path) -> Document:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read, or is not the YAML we take.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = f"toolgate init writes one; or name another: --config PATH (looked for {path.absolute()})"
        raise ConfigError([Problem(str(path), 0, 0, "unreadable", error.strerror or str(error), hint)]) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError([Problem(str(path), 0, 0, "too_large", f"the file is larger than {MAX_BYTES} bytes")])
    return parse(raw, str(path))


def parse(raw: bytes, file: str) -> Document:
    """Parse YAML text in UTF-8.

    Raises:
        ConfigError: with every duplicate key and refused tag, or the one place where the syntax breaks.
    """
    try:
        loader = _Core(raw.decode("utf-8-sig"))
        root = loader.get_single_node()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(file, line, 1, "syntax", "the file is not UTF-8")]) from None
    except RecursionError:
        raise ConfigError([Problem(file, 0, 0, "too_large", "the file is nested too deeply")]) from None
    except yaml.YAMLError as error:
        raise ConfigError([_syntax(error, file)]) from None
    building = _Building(file)
    data = building.build(root, ()) if root is not None else None
    if building.problems:
        raise ConfigError(building.problems)
    return Document(file, data, building.keys, building.values)


def _syntax(error: yaml.YAMLError, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    hint = "indent with spaces" if "'\\t'" in str(what) else ""
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    return Problem(file, line, column, "syntax", str(what), hint)


class _Stop(Exception):
    """The document unfolds beyond its bounds: there is nothing more to say about it."""


class _Building:
    """Turns nodes into data, noting places and problems on the way."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._nodes = 0
        self.keys: dict[Trail, Place] = {}
        self.values: dict[Trail, Place] = {}
        self.problems: list[Problem] = []

    def build(self, root: yaml.nodes.Node, trail: Trail) -> Any:
        try:
            return self._value(root, trail)
        except _Stop:
            return None

    def _value(self, node: yaml.nodes.Node, trail: Trail) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(trail) > MAX_DEPTH:
            self._note(node, "too_large", "the document unfolds too far: too many parts, or nested too deeply")
            raise _Stop
        is_block = isinstance(node, yaml.nodes.CollectionNode) and not node.flow_style
        self.values[trail] = self.keys.get(trail, _place(node)) if is_block else _place(node)
        if node.tag not in _KNOWN_TAGS:
            self._note(node, "syntax", f"the tag {node.tag.replace(_TAG, '!!')} is not supported", "remove the tag")
        elif isinstance(node, yaml.nodes.MappingNode):
            return self._mapping(node, trail)
        elif isinstance(node, yaml.nodes.SequenceNode):
            return [self._value(item, (*trail, index)) for index, item in enumerate(node.value)]
        else:
            return self._scalar(node)
        return None

    def _mapping(self, node: yaml.nodes.MappingNode, trail: Trail) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.nodes.ScalarNode) or key_node.tag != _TAG + "str":
                self._note(key_node, "syntax", "a key must be text", "put it in quotes")
                continue
            key = str(key_node.value)
            if key in built:
                line, _ = self.keys[(*trail, key)]
                self._note(
                    key_node, "duplicate_key", f"`{key}` is here twice, first in line {line}", "keep one of them"
                )
                continue
            if key == "<<":
                self._note(
                    key_node, "syntax", "merge keys (<<) are not YAML 1.2", "write the keys out, or alias each value"
                )
                continue
            self.keys[(*trail, key)] = _place(key_node)
            built[key] = self._value(value_node, (*trail, key))
        return built

    def _scalar(self, node: yaml.nodes.Node) -> Any:
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind == "str":
            return text
        if kind == "null":
            return None
        try:
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return int(text, 0 if text[:2] in {"0o", "0x"} else 10)
            return _finite(float(text))
        except (KeyError, ValueError):
            self._note(node, "wrong_value", f"this is no {kind}")
            return None

    def _note(self, node: yaml.nodes.Node, code: str, message: str, hint: str = "") -> None:
        line, column = _place(node)
        self.problems.append(Problem(self._file, line, column, code, message, hint))


def _place(node: yaml.nodes.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("out of range")
    return number
