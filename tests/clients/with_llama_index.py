"""LlamaIndex: its tools over MCP."""

import asyncio
import sys

from llama_index.tools.mcp import BasicMCPClient, McpToolSpec


async def main(url: str, token: str) -> None:
    client = BasicMCPClient(url, headers={"Authorization": f"Bearer {token}"})
    tools = {tool.metadata.name: tool for tool in await McpToolSpec(client=client).to_tool_list_async()}
    assert "fraud_check" in tools, list(tools)
    arguments = {"payment_id": "c_llama", "payee": "ACME", "amount": 12.5}
    checked = await tools["fraud_check"].acall(**arguments)
    assert "passed" in str(checked), checked
    said = str(await tools["payments_pay"].acall(**{**arguments, "amount": 13.5}))
    assert "Call this first" in said, said


asyncio.run(main(*sys.argv[1:]))
