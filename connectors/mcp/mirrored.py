"""Arguments that a tool's schema wants repeated in HTTP headers (`x-mcp-header`).

The SDK's reading of the annotation is the reference; it is imported only when some tool has one (it takes seconds).
"""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["mirrored_parameters", "parameter_headers"]


def mirrored_parameters(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[tuple[str, ...], str]]:
    """Return, per tool, the header of each argument that has one, by the argument's path."""
    if not any("x-mcp-header" in repr(tool.get("inputSchema")) for tool in tools):
        return {tool["name"]: {} for tool in tools}
    from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map

    return {
        tool["name"]: {} if find_invalid_x_mcp_header(schema) else x_mcp_header_map(schema)
        for tool in tools
        for schema in [tool.get("inputSchema")]
    }


def parameter_headers(
    mirrored: Mapping[tuple[str, ...], str] | None, arguments: Mapping[str, Any]
) -> Mapping[str, str] | None:
    """Return the `Mcp-Param-*` headers of one call, or None where its tool wants none."""
    if not mirrored:
        return None
    from mcp.shared.inbound import mcp_param_headers

    return mcp_param_headers(mirrored, arguments)
