"""The official Python SDK 1.9, of May 2025: 2025-03-26 only."""

import asyncio
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with streamablehttp_client(url, headers=headers) as (read, write, _), ClientSession(read, write) as session:
        assert (await session.initialize()).protocolVersion == "2025-03-26"
        names = [tool.name for tool in (await session.list_tools()).tools]
        assert "fraud_check" in names, names
        arguments = {"payment_id": "c_19", "payee": "ACME", "amount": 12.5}
        checked = await session.call_tool("fraud_check", arguments)
        assert not checked.isError, checked
        denied = await session.call_tool("payments_pay", {**arguments, "amount": 13.5})
        assert denied.isError, denied
        assert "Call this first" in denied.content[0].text, denied


asyncio.run(main(*sys.argv[1:]))
