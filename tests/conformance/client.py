"""The client of the client scenarios: `python -m tests.conformance.client [--through] URL`, started by the suite.

With `--through` a gateway stands between it and the suite's server.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitResult,
    ListRootsResult,
    TextContent,
    Tool,
)
from pydantic import ValidationError

from tests.conformance.gateway import gateway
from tests.conformance.suite import LEGACY

__all__ = ["SCENARIOS", "main"]

TIMEOUT_S = 30.0
DUMMIES: Mapping[str, Any] = {"string": "x", "number": 1.5, "integer": 1, "object": {}, "array": [], "null": None}


async def _fill_in(context: Any, params: Any) -> ElicitResult:
    """Accept, with every default the form has; a yes-or-no question without one is answered yes."""
    assert isinstance(params, ElicitRequestFormParams)
    fields: Mapping[str, Any] = params.requested_schema["properties"]
    content = {name: field.get("default", True) for name, field in fields.items()}
    return ElicitResult(action="accept", content=content)


async def _sample(context: Any, params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text="Hello"), model="none")


async def _no_roots(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[])


async def _tools(client: Client) -> dict[str, Tool]:
    """Return the tools by the names the suite gave them, whatever the gateway puts in front."""
    listed = (await client.list_tools()).tools
    return {tool.name.removeprefix("everything_"): tool for tool in listed}


async def _called(client: Client, tool: Tool, arguments: Mapping[str, Any]) -> None:
    result = await client.call_tool(tool.name, dict(arguments))
    if result.is_error:  # no scenario's tool fails, so this is the gateway's refusal
        raise RuntimeError(f"{tool.name}: {' '.join(b.text for b in result.content if b.type == 'text')}")


async def _list(client: Client) -> None:
    await client.list_tools()


async def _add(client: Client) -> None:
    tools = await _tools(client)
    await _called(client, tools["add_numbers"], {"a": 5, "b": 3})


def _call(*names: str) -> Callable[[Client], Awaitable[None]]:
    async def call(client: Client) -> None:
        tools = await _tools(client)
        for name in names:
            await _called(client, tools[name], {})

    return call


async def _input_required(client: Client) -> None:
    await _call("test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state")(client)
    with suppress(ValidationError):  # SDK 2.3 refuses a result without a type, which a client should take as complete
        await _call("test_mrtr_no_result_type")(client)


async def _echo_schema(client: Client) -> None:
    tools = await _tools(client)
    seen = tools["json_schema_2020_12_tool"].input_schema
    await _called(client, tools["json_schema_echo"], {"schema": seen})


async def _standard_headers(client: Client) -> None:
    for tool in (await _tools(client)).values():
        await _called(client, tool, {})
    for resource in (await client.list_resources()).resources:
        await client.read_resource(resource.uri)
    for prompt in (await client.list_prompts()).prompts:
        await client.get_prompt(prompt.name)


async def _custom_headers(client: Client) -> None:
    tools = await _tools(client)
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        await _called(client, tools[call["name"]], call["arguments"])


async def _call_what_is_left(client: Client) -> None:
    for tool in (await _tools(client)).values():
        fields: Mapping[str, Any] = tool.input_schema["properties"]
        await _called(client, tool, {name: DUMMIES[field["type"]] for name, field in fields.items()})


SCENARIOS: Mapping[str, Callable[[Client], Awaitable[None]]] = {
    "initialize": _list,
    "tools_call": _add,
    "elicitation-sep1034-client-defaults": _call("test_client_elicitation_defaults"),
    "sse-retry": _call("test_reconnection"),
    "json-schema-2020-12-preservation": _echo_schema,
    "request-metadata": _list,
    "sep-2322-client-request-state": _input_required,
    "http-standard-headers": _standard_headers,
    "http-custom-headers": _custom_headers,
    "http-invalid-tool-headers": _call_what_is_left,
    "json-schema-ref-no-deref": _list,
}


async def _play(scenario: str, url: str, token: str | None) -> None:
    legacy = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"] == LEGACY
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=TIMEOUT_S) as http,
        Client(
            streamable_http_client(url, http_client=http),
            mode="legacy" if legacy else "auto",
            read_timeout_seconds=TIMEOUT_S,
            elicitation_callback=_fill_in,
            sampling_callback=_sample,
            list_roots_callback=_no_roots,
        ) as client,
    ):
        await SCENARIOS[scenario](client)


def main() -> None:
    """Play the scenario the suite names in the environment."""
    *flags, url = sys.argv[1:]
    with ExitStack() as stack:
        token = None
        if "--through" in flags:
            running, token = stack.enter_context(gateway(url))
            url = f"{running.url}/mcp"
        asyncio.run(_play(os.environ["MCP_CONFORMANCE_SCENARIO"], url, token))


if __name__ == "__main__":
    main()
