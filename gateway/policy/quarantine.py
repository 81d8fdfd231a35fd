"""`quarantined: true` compiled to Cedar: nothing of such a server is used."""

from collections.abc import Iterable, Iterator

from gateway.policy.cedar import quoted
from gateway.policy.source import PolicySource

__all__ = ["compile_quarantine"]


def compile_quarantine(servers: Iterable[str]) -> tuple[PolicySource, ...]:
    """Return the forbids for servers that the operator quarantined; they win over every permit."""
    text = "\n".join(_forbids(servers))
    return (PolicySource("mcpServers.quarantined", text),) if text else ()


def _forbids(servers: Iterable[str]) -> Iterator[str]:
    for server in servers:
        why = f"The server {server} is quarantined: ask the operator, who takes that back in the configuration."
        yield (
            f"@id({quoted(f'quarantined.{server}')})\n@message({quoted(why)})\n"
            f"forbid (principal, action, resource in Gateway::Server::{quoted(server)});\n"
        )
