"""Who may call what: for listings, and for people who review access."""

from collections.abc import Iterable

from gateway.model.identity import Identity
from gateway.model.tool import Tool
from gateway.policy.bundle import Bundle
from gateway.policy.outlook import Outlook

__all__ = ["matrix", "visible"]


def visible(bundle: Bundle, identity: Identity, tool: Tool) -> bool:
    """Tell whether any arguments and any past could let this agent call this tool. The call is decided again."""
    return bundle.outlook(identity, tool) is not Outlook.NEVER


def matrix(bundle: Bundle, agents: Iterable[Identity], tools: Iterable[Tool]) -> dict[str, dict[str, Outlook]]:
    """Return the outlook of every agent on every tool, by agent and tool name."""
    tools = tuple(tools)
    return {agent.agent: {tool.name: bundle.outlook(agent, tool) for tool in tools} for agent in agents}
