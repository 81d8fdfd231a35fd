"""BeeAI: its MCP tools, of 2025-11-25."""

import asyncio
import sys

from beeai_framework.tools import ToolError
from beeai_framework.tools.mcp import MCPTool
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str, token: str) -> None:
    client = streamablehttp_client(url, headers={"Authorization": f"Bearer {token}"})
    tools = {tool.name: tool for tool in await MCPTool.from_client(client)}
    payment = {"payment_id": "c_beeai", "payee": "ACME", "amount": 12.5}
    checked = await tools["fraud_check"].run(payment)
    assert "passed" in str(checked), checked
    try:
        said = str(await tools["payments_pay"].run({**payment, "amount": 13.5}))
    except ToolError as error:  # what the agent is shown
        said = str(error)
    assert "Call this first" in said, said


asyncio.run(main(*sys.argv[1:]))
