"""`fields:` of an agent: which arguments of a tool it may set at all, whatever their values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.model.problem import Problem
from gateway.model.tool import Tool
from gateway.policy.shape import record_of

__all__ = ["Fields", "field_problems", "fields_of", "paths_of", "strays"]

Fields = Mapping[str, Any]
"""The fields that may be set, by name: for each what may be set below it, and nothing where that is everything."""

_TOLD: Final = 10
_LENGTH: Final = 120


def fields_of(paths: Sequence[str]) -> Fields:
    """Return the fields of dotted paths (`stage`, `contact.email`). What is named as a whole is allowed as a whole."""
    fields: dict[str, Any] = {}
    whole: list[str] = []
    for path in sorted(paths, key=lambda path: path.count(".")):
        if not any(path.startswith(f"{each}.") for each in whole):
            whole.append(path)
            at = fields
            for name in path.split("."):
                at = at.setdefault(name, {})
    return fields


def paths_of(fields: Fields) -> Iterator[str]:
    """Yield the dotted paths of what may be set."""
    for name, below in fields.items():
        yield from (f"{name}.{path}" for path in paths_of(below)) if below else (name,)


def strays(fields: Fields, arguments: Mapping[str, Any]) -> list[str]:
    """Return the paths of what arguments set beside these fields, the first few: `owner`, `lines[0].price`."""
    found = []
    for path in _strays(fields, arguments, ""):
        found.append(path[:_LENGTH])
        if len(found) == _TOLD:
            break
    return found


def _strays(fields: Fields, node: Any, where: str) -> Iterator[str]:
    if isinstance(node, list) and node:
        for number, each in enumerate(node):
            yield from _strays(fields, each, f"{where}[{number}]")
    elif isinstance(node, Mapping) and (node or not where):
        for name, value in node.items():
            path = f"{where}.{name}" if where else name
            if name not in fields:
                yield path
            elif fields[name]:
                yield from _strays(fields[name], value, path)
    else:  # what may be set in parts only is set as a whole, or emptied
        yield where


def field_problems(agents: Mapping[str, Mapping[str, Sequence[str]]], tools: Sequence[Tool]) -> Iterator[Problem]:
    """Find tools that are not pinned, and fields that a tool does not declare: a slip would allow or forbid much."""
    pinned = {tool.name: tool for tool in tools}
    for agent, said in agents.items():
        for name, paths in said.items():
            if name not in pinned:
                yield _problem(agent, f"{name!r} is no pinned tool", "see the names in gateway.lock.")
                continue
            declared = record_of(pinned[name].input_schema).fields
            for path in paths:
                if path.partition(".")[0] not in declared:
                    yield _problem(agent, f"{name} has no argument {path!r}", "name arguments that the tool declares.")


def _problem(agent: str, message: str, fix: str) -> Problem:
    return Problem(f"agents.{agent}.allow", 0, 0, "fields", message, fix)
