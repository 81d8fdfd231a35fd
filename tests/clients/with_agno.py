"""Agno's tools over MCP, called as its agents call them."""

import asyncio
import sys

from agno.tools.mcp import MCPTools
from agno.tools.mcp.params import StreamableHTTPClientParams


async def main(url: str, token: str) -> None:
    reached = StreamableHTTPClientParams(url=url, headers={"Authorization": f"Bearer {token}"})
    tools = MCPTools(transport="streamable-http", server_params=reached)
    await tools.connect()
    assert "fraud_check" in tools.functions, list(tools.functions)
    arguments = {"payment_id": "c_agno", "payee": "ACME", "amount": 12.5}
    checked = await tools.functions["fraud_check"].entrypoint(**arguments)
    assert "passed" in str(checked), checked
    refused = await tools.functions["payments_pay"].entrypoint(**{**arguments, "amount": 13.5})
    assert "Call this first" in str(refused), refused
    await tools.close()


asyncio.run(main(*sys.argv[1:]))
