"""Tools that say something before they answer: log messages, progress, changed lists, a stream that closes, a wait."""

import asyncio

from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp_types import CallToolRequestParams, CallToolResult

from tests.conformance.everything.asking import Request, is_modern, one_field
from tests.conformance.everything.tool import ServedTool, said

__all__ = ["talking_tools"]

PAUSE_S = 0.05
"""What the scenarios ask for between two messages."""


async def _log(context: Request, text: str) -> None:
    await context.session.send_log_message("info", text, "everything", related_request_id=context.request_id)


async def _logging(context: Request, _: CallToolRequestParams) -> CallToolResult:
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await _log(context, text)
        await asyncio.sleep(PAUSE_S)
    return said("Tool with logging executed successfully")


async def _progress(context: Request, _: CallToolRequestParams) -> CallToolResult:
    for step in (0, 50, 100):
        await context.session.report_progress(step, 100, f"Completed step {step} of 100")
        await asyncio.sleep(PAUSE_S)
    return said("Tool with progress executed successfully")


async def _reconnection(context: Request, _: CallToolRequestParams) -> CallToolResult:
    await _log(context, "Before the stream closes")
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
        await asyncio.sleep(4 * PAUSE_S)  # the client comes back meanwhile, and is given what it missed
    await _log(context, "After the stream closed")
    return said("Reconnection test completed")


def _waiting_tools() -> tuple[ServedTool, ServedTool]:
    """Return a tool that waits until its call is called off, and one that answers once that has happened."""
    gone: dict[str, asyncio.Event] = {}

    def of(params: CallToolRequestParams) -> asyncio.Event:
        return gone.setdefault((params.arguments or {})["label"], asyncio.Event())

    async def waiting(context: Request, params: CallToolRequestParams) -> CallToolResult:
        await context.session.report_progress(0, 100, "It waits")
        try:
            await asyncio.Event().wait()
        finally:
            of(params).set()
        return said("It was never called off")

    async def called_off(_: Request, params: CallToolRequestParams) -> CallToolResult:
        await of(params).wait()
        return said("It was called off")

    label = one_field("label", description="Which call")
    return (
        ServedTool("test_waiting", "Waits until its call is called off", waiting, label),
        ServedTool("test_called_off", "Answers once a call was called off", called_off, label),
    )


def talking_tools(bus: InMemorySubscriptionBus) -> tuple[ServedTool, ...]:
    """Return the tools; `bus` carries changed lists to `subscriptions/listen`."""

    async def tools_changed(context: Request, _: CallToolRequestParams) -> CallToolResult:
        await bus.publish(ToolsListChanged())
        if not is_modern(context):
            await context.session.send_tool_list_changed()
        return said("The list of tools changed")

    async def prompts_changed(context: Request, _: CallToolRequestParams) -> CallToolResult:
        await bus.publish(PromptsListChanged())
        if not is_modern(context):
            await context.session.send_prompt_list_changed()
        return said("The list of prompts changed")

    return (
        ServedTool("test_tool_with_logging", "Sends three log messages", _logging),
        ServedTool("test_logging_tool", "Sends log messages where they were asked for", _logging),
        ServedTool("test_tool_with_progress", "Reports progress three times", _progress),
        ServedTool("test_reconnection", "Closes the stream of its call and goes on", _reconnection),
        ServedTool("test_trigger_tool_change", "Says that the list of tools changed", tools_changed),
        ServedTool("test_trigger_prompt_change", "Says that the list of prompts changed", prompts_changed),
        *_waiting_tools(),
    )
