"""Who may call what: for listings, and for people who review access."""

from collections.abc import Iterable

from gateway.model.identity import Identity
from gateway.model.operation import ACTION_OF, ASKS, operation
from gateway.model.tool import Tool
from gateway.policy.bundle import Bundle
from gateway.policy.outlook import Outlook
from gateway.policy.source import PolicySource

__all__ = ["asks_named", "matrix", "may", "may_ask", "visible"]


def visible(bundle: Bundle, identity: Identity, tool: Tool, *, granted: bool = False) -> bool:
    """Tell whether any arguments and any past could let this agent make this call. It is decided again."""
    return bundle.outlook(identity, tool, granted=granted) is not Outlook.NEVER


def may(bundle: Bundle, identity: Identity, method: str, server: str, name: str | None) -> Outlook:
    """Return what an agent can hope for from `method` on a server's prompt of this name or document of this URI.

    None stands for any of them. What is NEVER is not listed; any request is decided again. `method` is one of
    `ACTION_OF`.
    """
    return bundle.outlook_on(identity, method, server, name)


def may_ask(bundle: Bundle, identity: Identity, server: str) -> frozenset[str]:
    """Return the methods a server may use towards this agent's client in some context. Each is decided again."""
    return frozenset(method for method in ASKS if visible(bundle, identity, operation(server, method)))


def asks_named(sources: Iterable[PolicySource], server: str) -> frozenset[str]:
    """Return the methods a server could be permitted to use towards a client by policies that do not load yet.

    A permit for one has to name it, and the server or none.
    """
    texts = [one.text for one in sources if f'"{server}"' in one.text or "Gateway::Server::" not in one.text]
    return frozenset(method for method in ASKS if any(f'"{ACTION_OF[method]}"' in text for text in texts))


def matrix(bundle: Bundle, agents: Iterable[Identity], tools: Iterable[Tool]) -> dict[str, dict[str, Outlook]]:
    """Return the outlook of every agent on every tool or operation, by agent and canonical name."""
    tools = tuple(tools)
    return {agent.agent: {tool.name: bundle.outlook(agent, tool) for tool in tools} for agent in agents}
