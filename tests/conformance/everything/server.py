"""The server itself: handlers by method."""

from collections.abc import Mapping
from typing import Any

from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)

from tests.conformance.everything.asking import NeedsInput, Request
from tests.conformance.everything.content import CONTENT_TOOLS
from tests.conformance.everything.inputs import INPUT_TOOLS
from tests.conformance.everything.prompts import PROMPTS, get_prompt
from tests.conformance.everything.resources import RESOURCES, TEMPLATES, read_resource
from tests.conformance.everything.talking import talking_tools
from tests.conformance.everything.tool import ServedTool, ToolFault

__all__ = ["build"]

CHANGES = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
COMPLETIONS = ("paris", "park", "party", "test")


async def _nothing(
    _: Request, __: SetLevelRequestParams | SubscribeRequestParams | UnsubscribeRequestParams
) -> EmptyResult:
    return EmptyResult()


async def _complete(_: Request, params: CompleteRequestParams) -> CompleteResult:
    values = [word for word in COMPLETIONS if word.startswith(params.argument.value)]
    return CompleteResult(completion=Completion(values=values, total=len(values), has_more=False))


async def _prompt(context: Request, params: GetPromptRequestParams) -> GetPromptResult | InputRequiredResult:
    try:
        return await get_prompt(context, params)
    except NeedsInput as need:
        return need.result


async def _call(
    tools: Mapping[str, ServedTool], context: Request, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    if params.name not in tools:
        raise MCPError(code=-32602, message=f"Unknown tool: {params.name}")
    try:
        return await tools[params.name].call(context, params)
    except NeedsInput as need:
        return need.result
    except ToolFault as fault:
        return CallToolResult(content=[TextContent(text=str(fault))], is_error=True)


class _Everything(Server[Any]):
    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Declare to legacy clients that lists change: the SDK's HTTP transport has no other way to say so."""
        return super().create_initialization_options(CHANGES, experimental_capabilities, extensions)


def build() -> Server[Any]:
    """Return the server; each call makes one with subscriptions of its own."""
    bus = InMemorySubscriptionBus()
    tools = {tool.name: tool for tool in (*CONTENT_TOOLS, *talking_tools(bus), *INPUT_TOOLS)}

    async def list_tools(_: Request, __: Any) -> ListToolsResult:
        return ListToolsResult(tools=[tool.listing for tool in tools.values()])

    async def list_prompts(_: Request, __: Any) -> ListPromptsResult:
        return ListPromptsResult(prompts=[prompt for prompt, _ in PROMPTS.values()])

    async def list_resources(_: Request, __: Any) -> ListResourcesResult:
        return ListResourcesResult(resources=list(RESOURCES))

    async def list_templates(_: Request, __: Any) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=list(TEMPLATES))

    async def call_tool(context: Request, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        return await _call(tools, context, params)

    server = _Everything(
        "toolgate-everything",
        version="1.0.0",
        instructions="Everything the conformance scenarios call.",
        get_tool_input_schema=lambda name: tools[name].schema if name in tools else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=_prompt,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=_nothing,
        on_unsubscribe_resource=_nothing,
        on_subscriptions_listen=ListenHandler(bus),
        on_completion=_complete,
        on_set_logging_level=_nothing,
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name))
    return server
