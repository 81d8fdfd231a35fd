"""The official Python SDK 1.30: 2025-11-25 only."""

import asyncio
import sys

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, token: str) -> None:
    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        streamable_http_client(url, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        names = [tool.name for tool in (await session.list_tools()).tools]
        assert "fraud_check" in names, names
        arguments = {"payment_id": "c_130", "payee": "ACME", "amount": 12.5}
        checked = await session.call_tool("fraud_check", arguments)
        assert not checked.isError, checked
        denied = await session.call_tool("payments_pay", {**arguments, "amount": 13.5})
        assert denied.isError, denied
        assert "Call this first" in denied.content[0].text, denied


asyncio.run(main(*sys.argv[1:]))
