"""What a tool of the reference server is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_types import CallToolRequestParams, CallToolResult, ContentBlock, TextContent, Tool

from tests.conformance.everything.asking import Request

__all__ = ["NO_ARGUMENTS", "ServedTool", "ToolFault", "said"]

NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}
Call = Callable[[Request, CallToolRequestParams], Awaitable[CallToolResult]]


class ToolFault(Exception):
    """The tool failed: the client gets a result with `isError`."""


@dataclass(frozen=True, slots=True)
class ServedTool:
    """A tool's listing and what it does."""

    name: str
    description: str
    call: Call
    schema: Mapping[str, Any] = field(default_factory=lambda: NO_ARGUMENTS)

    @property
    def listing(self) -> Tool:
        """The tool as `tools/list` shows it."""
        return Tool(name=self.name, description=self.description, input_schema=dict(self.schema))


def said(*blocks: ContentBlock | str) -> CallToolResult:
    """Return a result of these blocks; texts become text blocks."""
    return CallToolResult(content=[TextContent(text=b) if isinstance(b, str) else b for b in blocks])
