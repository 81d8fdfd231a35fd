"""mcp-use's client, as its agents call it."""

import asyncio
import sys

from mcp_use import MCPClient


async def main(url: str, token: str) -> None:
    server = {"url": url, "headers": {"Authorization": f"Bearer {token}"}}
    client = MCPClient(config={"mcpServers": {"toolgate": server}})
    session = await client.create_session("toolgate")
    names = [tool.name for tool in await session.list_tools()]
    assert "fraud_check" in names, names
    arguments = {"payment_id": "c_mcp_use", "payee": "ACME", "amount": 12.5}
    assert "passed" in str(await session.call_tool("fraud_check", arguments))
    refused = await session.call_tool("payments_pay", {**arguments, "amount": 13.5})
    assert refused.isError, refused
    assert "Call this first" in str(refused.content), refused
    await client.close_all_sessions()


asyncio.run(main(*sys.argv[1:]))
