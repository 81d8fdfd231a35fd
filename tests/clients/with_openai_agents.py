"""openai-agents: its MCP server class, as an Agent uses it."""

import asyncio
import sys

from agents.mcp import MCPServerStreamableHttp


async def main(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with MCPServerStreamableHttp(params={"url": url, "headers": headers}) as server:
        names = [tool.name for tool in await server.list_tools()]
        assert "fraud_check" in names, names
        arguments = {"payment_id": "c_openai", "payee": "ACME", "amount": 12.5}
        checked = await server.call_tool("fraud_check", arguments)
        assert '"passed"' in str(checked.model_dump_json()) or "passed" in str(checked), checked
        denied = await server.call_tool("payments_pay", {**arguments, "amount": 13.5})
        assert "Call this first" in str(denied), denied


asyncio.run(main(*sys.argv[1:]))
