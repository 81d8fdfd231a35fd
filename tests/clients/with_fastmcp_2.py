"""FastMCP 2, of which much software in the field is made still: 2025-11-25 only."""

import asyncio
import sys

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport


async def main(url: str, token: str) -> None:
    async with Client(StreamableHttpTransport(url, headers={"Authorization": f"Bearer {token}"})) as client:
        names = [tool.name for tool in await client.list_tools()]
        assert "fraud_check" in names, names
        arguments = {"payment_id": "c_fastmcp_2", "payee": "ACME", "amount": 12.5}
        checked = await client.call_tool("fraud_check", arguments)
        assert "passed" in str(checked), checked
        refused = await client.call_tool("payments_pay", {**arguments, "amount": 13.5}, raise_on_error=False)
        assert refused.is_error, refused
        assert "Call this first" in str(refused.content), refused


asyncio.run(main(*sys.argv[1:]))
