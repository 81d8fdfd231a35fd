"""Servers that came after the others, compiled to Cedar: no wildcard opens them before a person has decided."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.model.operation import ACTION_OF, ASKS
from gateway.policy.cedar import quoted
from gateway.policy.entities import CALL_TOOL
from gateway.policy.source import PolicySource

__all__ = ["Undecided", "compile_undecided", "naming"]


@dataclass(frozen=True, slots=True)
class Undecided:
    """A server that nobody has decided about, but for those of its tools that a person has approved (`reviewed`)."""

    server: str
    reviewed: tuple[str, ...] = ()


def naming(server: str, allowed: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the agents whose `allow:` list names a server: whoever wrote that has decided about them."""
    return [agent for agent, patterns in allowed.items() if any(one.partition(".")[0] == server for one in patterns)]


def compile_undecided(servers: Iterable[Undecided], allowed: Mapping[str, Iterable[str]]) -> tuple[PolicySource, ...]:
    """Return the forbids that keep agents from such servers, except those whose `allow:` list names one."""
    text = "\n".join(line for each in servers for line in _forbids(each, naming(each.server, allowed)))
    return (PolicySource("mcpServers.new", text),) if text else ()


def _forbids(new: Undecided, agents: list[str]) -> Iterator[str]:
    server = new.server
    offered = [action for method, action in ACTION_OF.items() if method not in ASKS]
    others = ", ".join(f"Gateway::Action::{quoted(action)}" for action in dict.fromkeys(offered))
    known = [_one_of("principal", "Agent", agents)] if agents else []
    approved = [_one_of("resource", "Tool", new.reviewed)] if new.reviewed else []
    yield _forbid(server, "tools", f"in Gateway::Action::{quoted(CALL_TOOL)}", [*known, *approved])
    yield _forbid(server, "others", f"in [{others}]", known)


def _forbid(server: str, about: str, scope: str, unless: list[str]) -> str:
    why = (
        f"The server {server} is new here, and nobody has decided who may use it. An operator does: "
        f'`toolgate schema approve "{server}.*"`, or its name in the `allow:` list of the agents that may.'
    )
    head = f"@id({quoted(f'new.{server}.{about}')})\n@message({quoted(why)})\n"
    head += f"forbid (principal is Gateway::Agent, action {scope}, resource in Gateway::Server::{quoted(server)})"
    return f"{head}\nunless {{ {' || '.join(unless)} }};\n" if unless else f"{head};\n"


def _one_of(variable: str, kind: str, names: Iterable[str]) -> str:
    listed = ", ".join(f"Gateway::{kind}::{quoted(name)}" for name in names)
    return f"[{listed}].contains({variable})"
