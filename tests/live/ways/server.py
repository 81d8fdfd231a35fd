"""A server on the SDK whose calls take as long as a test wants, and which writes down what it really did.

`python -m tests.live.ways.server FOLDER ERA [--stdio]`. It appends to FOLDER/effects.jsonl; a call named N goes on once
FOLDER/go-N is there. Over HTTP, the first line printed is the URL.
"""

import argparse
import asyncio
import json
import socket
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.runner import serve_dual_era_loop, serve_loop
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning
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
    ListToolsResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    Tool,
    UnsubscribeRequestParams,
)

from tests.conformance.everything.asking import (
    NeedsInput,
    Request,
    ask,
    elicitation,
    is_modern,
    one_field,
    roots,
    sampling,
)
from tests.conformance.everything.era import Era, only_over_http, refuse_the_handshake
from tests.conformance.everything.tool import said

__all__ = ["APP", "PAGE", "STEPS", "URI"]

STEPS = 3
URI = "test://watched"
APP = {"ui": {"resourceUri": "ui://ways/page"}}
PAGE = {
    "uri": "ui://ways/page",
    "mimeType": "text/html;profile=mcp-app",
    "text": "<p>hello</p>",
    "_meta": {"ui": {"csp": {"connectDomains": ["https://example.com"]}}},
}
NAMED: Mapping[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Works:
    """What the tools do, and the notes of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bus = InMemorySubscriptionBus()
        self.tools = {"work": self._work, "build": self._work, "ask": self._ask, "touch": self._touch}
        self.tools["inquire"] = self._inquire

    def note(self, what: str, name: str) -> None:
        with (self._folder / "effects.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps([what, name]) + "\n")

    async def call(self, context: Request, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        try:
            return await self.tools[params.name](context, params, str((params.arguments or {}).get("name")))
        except NeedsInput as need:
            return need.result

    async def _work(self, context: Request, _: CallToolRequestParams, name: str) -> CallToolResult:
        """Start, report, wait, finish."""
        self.note("started", name)
        try:
            for step in range(1, STEPS + 1):
                await context.session.report_progress(step, STEPS, f"step {step}")
            await self._go(name)
        except asyncio.CancelledError:
            self.note("cancelled", name)
            raise
        self.note("finished", name)
        return said(f"worked on {name}")

    async def _go(self, name: str) -> None:
        while not (self._folder / f"go-{name}").exists():
            await asyncio.sleep(0.01)

    async def _ask(self, context: Request, params: CallToolRequestParams, name: str) -> CallToolResult:
        """Ask, then do it."""
        if not (is_modern(context) and params.input_responses):
            self.note("asked", name)
        answers = await ask(context, params, {"ok": elicitation(f"Do {name}?", one_field("ok", "boolean"))}, state=name)
        self.note("did", name)
        return said(f"did {name}: {getattr(answers['ok'], 'action', None)}")

    async def _inquire(self, context: Request, params: CallToolRequestParams, name: str) -> CallToolResult:
        """Ask the client everything it can be asked, and say what it answered."""
        asked = {"form": elicitation(f"Who is {name}?", one_field("name")), "model": sampling(name), "roots": roots()}
        answers = await ask(context, params, asked, state=name)
        told = {
            key: answer.model_dump(mode="json", by_alias=True, exclude_none=True) for key, answer in answers.items()
        }
        return said(json.dumps(told, sort_keys=True))

    async def _touch(self, context: Request, _: CallToolRequestParams, name: str) -> CallToolResult:
        await self.bus.publish(ResourceUpdated(uri=URI))
        if not is_modern(context):
            await context.session.send_resource_updated(URI)
        return said(f"touched {name}")


async def _nothing(_: Request, __: SubscribeRequestParams | UnsubscribeRequestParams) -> EmptyResult:
    return EmptyResult()


def build(folder: Path) -> Server[Any]:
    """Return the server."""
    works = Works(folder)

    async def list_tools(_: Request, __: Any) -> ListToolsResult:
        shown = {"input_schema": dict(NAMED), "_meta": APP}
        return ListToolsResult(tools=[Tool(name=name, description=f"To {name}.", **shown) for name in works.tools])

    async def list_resources(_: Request, __: Any) -> ListResourcesResult:
        return ListResourcesResult(resources=[Resource(uri=URI, name="watched")])

    async def read_resource(_: Request, params: ReadResourceRequestParams) -> ReadResourceResult:
        if str(params.uri) == PAGE["uri"]:
            return ReadResourceResult(contents=[TextResourceContents.model_validate(PAGE)])
        return ReadResourceResult(contents=[TextResourceContents(uri=URI, text="watched")])

    async def list_prompts(_: Request, __: Any) -> ListPromptsResult:
        return ListPromptsResult(prompts=[Prompt(name="plan", arguments=[PromptArgument(name="who")])])

    async def get_prompt(_: Request, params: GetPromptRequestParams) -> GetPromptResult:
        content = TextContent(text=f"plan of {params.arguments}")
        return GetPromptResult(messages=[PromptMessage(role="user", content=content)])

    async def complete(_: Request, params: CompleteRequestParams) -> CompleteResult:
        return CompleteResult(completion=Completion(values=[f"{params.argument.value}da"], total=1, has_more=False))

    return Server(
        "ways",
        version="1",
        get_tool_input_schema=lambda name: dict(NAMED) if name in works.tools else None,
        on_list_tools=list_tools,
        on_call_tool=works.call,
        on_list_resources=list_resources,
        on_read_resource=read_resource,
        on_subscribe_resource=_nothing,
        on_unsubscribe_resource=_nothing,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_subscriptions_listen=ListenHandler(works.bus),
    )


def _serve_http(server: Server[Any], era: Era) -> None:
    app = only_over_http(era, server.streamable_http_app())
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(app, http="h11", log_level="error", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


async def _serve_stdio(server: Server[Any], era: Era) -> None:
    options = server.create_initialization_options(NotificationOptions())
    if era == "modern":
        server.middleware.append(refuse_the_handshake)
    async with stdio_server() as (read, write), server.lifespan(server) as state:
        serve = serve_loop if era == "legacy" else serve_dual_era_loop
        await serve(server, read, write, lifespan_state=state, init_options=options)


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("era", choices=("legacy", "modern"))
    parser.add_argument("--stdio", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    server = build(given.folder)
    if given.stdio:
        asyncio.run(_serve_stdio(server, given.era))
    else:
        _serve_http(server, given.era)


if __name__ == "__main__":
    main()
