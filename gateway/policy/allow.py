"""`allow:` lists compiled to Cedar, for people who do not write it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gateway.model.operation import ACTION_OF, ASKS
from gateway.model.problem import Problem
from gateway.policy.cedar import quoted
from gateway.policy.entities import CALL_TOOL
from gateway.policy.problem import PolicyLoadError
from gateway.policy.source import PolicySource

__all__ = ["compile_allow"]

_CHUNK: Final = 50
"""Patterns per policy; the loader takes at most 90 terms."""
_PATTERN: Final = re.compile(r"[^\s\"\\`]+")
_ANY: Final = "*"
_EVERYTHING: Final = frozenset({"*", "*.*"})
_WHOLE_SERVER: Final = re.compile(r"([^*.]+)\.\*")
_OFFERED: Final = tuple(dict.fromkeys(action for method, action in ACTION_OF.items() if method not in ASKS))
"""The actions on what a server offers besides tools; a pattern for the whole server permits these too."""


def compile_allow(agents: Mapping[str, Sequence[str]]) -> tuple[PolicySource, ...]:
    """Return the permits that each agent's `allow:` list comes to; a `*` in a pattern stands for any text.

    `*` and `server.*` permit the tools, documents, prompts and completions of all servers or of one; `server.read_*`
    permits tools alone, and `server.resources/read` or `*.prompts/get` that method alone. What a server may ask of the
    client is permitted only by name: `server.elicitation/create`, `server.sampling/*`.

    Raises:
        PolicyLoadError: a pattern is no name, or it is about a method and neither names the server nor says `*`.
    """
    problems = [
        problem for agent, patterns in agents.items() for pattern in patterns for problem in _problems(agent, pattern)
    ]
    if problems:
        raise PolicyLoadError(problems)
    return tuple(
        PolicySource(f"agents.{agent}.allow", "\n".join(_policies(agent, patterns)))
        for agent, patterns in agents.items()
        if patterns
    )


def _problems(agent: str, pattern: str) -> Iterator[Problem]:
    where = f"agents.{agent}.allow"
    if _PATTERN.fullmatch(pattern) is None:
        yield Problem(
            where, 0, 0, "pattern", f"{pattern!r} is no tool name or pattern", "see the names in gateway.lock."
        )
        return
    server, methods = _methods(pattern)
    if methods and _ANY in server and server != _ANY:
        fix = "name the server, or write `*` for all of them."
        yield Problem(where, 0, 0, "pattern", f"{pattern!r} names a method and only a part of a server's name", fix)


def _methods(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Return the server that a pattern names and the governed methods; none where the pattern is about tools."""
    server, _, rest = pattern.partition(".")  # a server's name has no dot
    wanted = tuple(name for name in ACTION_OF if name == rest or f"{name.partition('/')[0]}/*" == rest)
    return server, wanted if server else ()


def _policies(agent: str, patterns: Sequence[str]) -> Iterator[str]:
    """Yield the policies of one list: for whole servers, for their tools by name, for each method that is named."""
    about_tools = [pattern for pattern in patterns if not _methods(pattern)[1]]
    whole = {found[1] for found in map(_WHOLE_SERVER.fullmatch, about_tools) if found}
    if not _EVERYTHING.isdisjoint(about_tools):
        whole = {_ANY}
    yield from _permits(agent, "", (CALL_TOOL, *_OFFERED), _servers("in", whole))
    finer = [] if _ANY in whole else [_tool(one) for one in about_tools if _WHOLE_SERVER.fullmatch(one) is None]
    yield from _permits(agent, "/tools", (CALL_TOOL,), finer)
    for action in dict.fromkeys(ACTION_OF.values()):
        named = {_methods(pattern)[0] for pattern in patterns if action in map(ACTION_OF.get, _methods(pattern)[1])}
        if action not in _OFFERED:
            yield from _permits(agent, f"/{action}", (action,), _servers("==", named))
        elif _ANY not in whole:
            yield from _permits(agent, f"/{action}", (action,), _servers("in", named - whole))


def _permits(agent: str, about: str, actions: Sequence[str], terms: Sequence[str]) -> Iterator[str]:
    for number, start in enumerate(range(0, len(terms), _CHUNK), 1):
        suffix = f".{number}" if number > 1 else ""
        yield _permit(agent, about + suffix, actions, terms[start : start + _CHUNK])


def _permit(agent: str, suffix: str, actions: Sequence[str], terms: Sequence[str]) -> str:
    """Return a permit where one of the terms holds; always where one of them is empty. An agent's name has no `/`."""
    named = ", ".join(f"Gateway::Action::{quoted(action)}" for action in actions)
    scope = f"in [{named}]" if len(actions) > 1 else f"in {named}" if CALL_TOOL in actions else f"== {named}"
    head = f"@id({quoted(f'allow.{agent}{suffix}')})\n"
    head += f"permit (principal == Gateway::Agent::{quoted(agent)}, action {scope}, resource)"
    joined = " ||\n  ".join(terms)
    return f"{head}\nwhen {{\n  {joined}\n}};\n" if all(terms) else f"{head};\n"


def _tool(pattern: str) -> str:
    if _ANY in pattern:
        return f"resource.name like {quoted(pattern)}"
    return f"resource == Gateway::Tool::{quoted(pattern)}"


def _servers(operator: str, names: set[str]) -> list[str]:
    """Return a term for each server; for all of them a single one, which is empty."""
    if _ANY in names:
        return [""]
    return [f"resource {operator} Gateway::Server::{quoted(name)}" for name in sorted(names)]
