"""Upstreams over HTTP APIs, built as the gateway builds them."""

from collections.abc import Mapping
from typing import Any

from gateway.connector import ConnectorFault, Surroundings, ToolCall, Upstream
from gateway.connector.registry import build_upstream, load_connectors
from tests.connectors.rest.api import Api

__all__ = ["asked", "build", "fault_of", "http_section", "text"]


def build(section: Mapping[str, Any], **lent: Any) -> Upstream:
    return build_upstream("crm", section, load_connectors(), Surroundings(**lent), environ={})


def http_section(api: Api, **more: Any) -> dict[str, Any]:
    """A section with one read and one write, over `api`."""
    tools = {
        "find": {"description": "Find.", "method": "GET", "path": "/find", "effect": "read"},
        "make": {"description": "Make.", "method": "POST", "path": "/make", "effect": "write"},
    }
    section = {"connector": "http", "base_url": f"{api.url}/v1", "tools": tools, **more}
    section["egress"] = {"allow_private": ["127.0.0.1"], **section.get("egress", {})}
    return section


def asked(tool: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> ToolCall:
    return ToolCall(tool, arguments or {}, "call_test", **{"timeout_s": 20.0, **more})


def text(result: Any) -> str:
    """What the first content block says."""
    return str(result["content"][0]["text"])


async def fault_of(upstream: Upstream, call: ToolCall) -> ConnectorFault:
    """The fault that a call ends in."""
    try:
        result = await upstream.call(call)
    except ConnectorFault as fault:
        return fault
    raise AssertionError(f"no fault: {result}")
