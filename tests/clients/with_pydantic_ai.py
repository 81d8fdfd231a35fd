"""pydantic-ai: its MCP toolset."""

import asyncio
import sys

from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.mcp import MCPToolset


async def main(url: str, token: str) -> None:
    async with MCPToolset(url, headers={"Authorization": f"Bearer {token}"}) as toolset:
        names = [tool.name for tool in await toolset.list_tools()]
        assert "fraud_check" in names, names
        arguments = {"payment_id": "c_pydantic", "payee": "ACME", "amount": 12.5}
        checked = await toolset.direct_call_tool("fraud_check", arguments)
        assert "passed" in str(checked), checked
        try:
            said = str(await toolset.direct_call_tool("payments_pay", {**arguments, "amount": 13.5}))
        except ModelRetry as refused:
            said = str(refused)
        assert "Call this first" in said, said


asyncio.run(main(*sys.argv[1:]))
