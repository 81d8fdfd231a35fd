"""One governed request as it goes to a server: its params, and the name that HTTP headers repeat."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gateway.connector import ToolCall

__all__ = ["IDEMPOTENCY_META", "TASKS_EXTENSION", "TOOL_CALL", "meta_of", "name_of", "params_of"]

TOOL_CALL: Final = "tools/call"
TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
IDEMPOTENCY_META: Final = "io.toolgate/idempotency-key"
_NAMED_BY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "prompts/get": "name",
        "resources/read": "uri",
        "tasks/get": "taskId",
        "tasks/result": "taskId",
        "tasks/update": "taskId",
        "tasks/cancel": "taskId",
    }
)


def params_of(call: ToolCall, more: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request's `params` without `_meta`; `more` goes beside name and arguments."""
    if call.method == TOOL_CALL:
        params: Mapping[str, Any] = {"name": call.tool, "arguments": call.arguments}
    else:
        params = call.arguments
    return {**params, **more} if more else params


def meta_of(call: ToolCall) -> Mapping[str, Any]:
    """Return the `_meta` that the caller's part of the request has."""
    if call.idempotency_key is None:
        return call.meta
    return {**call.meta, IDEMPOTENCY_META: call.idempotency_key}


def name_of(call: ToolCall) -> str:
    """Return what `Mcp-Name` says of the request, empty where the method has no name."""
    if call.method == TOOL_CALL:
        return call.tool
    name = call.arguments.get(_NAMED_BY.get(call.method, ""), "")
    return name if isinstance(name, str) else ""
