"""Google's Agent Development Kit: its MCP toolset."""

import asyncio
import sys

from google.adk.tools.mcp_tool import McpToolset, StreamableHTTPConnectionParams


async def main(url: str, token: str) -> None:
    params = StreamableHTTPConnectionParams(url=url, headers={"Authorization": f"Bearer {token}"})
    toolset = McpToolset(connection_params=params)
    try:
        tools = {tool.name: tool for tool in await toolset.get_tools()}
        assert "fraud_check" in tools, list(tools)
        arguments = {"payment_id": "c_adk", "payee": "ACME", "amount": 12.5}
        checked = await tools["fraud_check"].run_async(args=arguments, tool_context=None)
        assert "passed" in str(checked), checked
        said = str(await tools["payments_pay"].run_async(args={**arguments, "amount": 13.5}, tool_context=None))
        assert "Call this first" in said, said
    finally:
        await toolset.close()


asyncio.run(main(*sys.argv[1:]))
