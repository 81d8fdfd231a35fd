"""Environments kept apart: what is declared of agents and servers, compiled to Cedar."""

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.policy.cedar import quoted
from gateway.policy.source import PolicySource

__all__ = ["compile_separation"]

_CHUNK: Final = 50
"""Servers per policy; the loader takes at most 90 terms."""


def compile_separation(agents: Mapping[str, str], servers: Mapping[str, str]) -> tuple[PolicySource, ...]:
    """Return the forbids that keep each agent from servers of another environment; they win over every permit.

    Both are by name. A server of which no environment is declared is for agents of every one.
    """
    text = "\n".join(policy for agent, own in agents.items() for policy in _forbids(agent, own, servers))
    return (PolicySource("environments", text),) if text else ()


def _forbids(agent: str, own: str, servers: Mapping[str, str]) -> Iterator[str]:
    others = sorted(server for server, environment in servers.items() if environment != own)
    why = f"{agent} is of the environment {own}, and this server of another. Ask the operator."
    for start in range(0, len(others), _CHUNK):
        terms = " ||\n  ".join(
            f"resource in Gateway::Server::{quoted(server)}" for server in others[start : start + _CHUNK]
        )
        number = f".{start // _CHUNK + 1}" if start else ""
        yield (
            f"@id({quoted(f'environment.{agent}{number}')})\n@message({quoted(why)})\n"
            f"forbid (principal == Gateway::Agent::{quoted(agent)}, action, resource)\nwhen {{\n  {terms}\n}};\n"
        )
