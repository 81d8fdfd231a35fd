"""The official Python SDK 2.3, both protocol eras."""

import asyncio
import sys

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, token: str) -> None:
    for mode in ("auto", "legacy"):
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert "fraud_check" in names, names
            arguments = {"payment_id": f"c_{mode}", "payee": "ACME", "amount": 12.5}
            checked = await client.call_tool("fraud_check", arguments)
            assert not checked.is_error, checked
            denied = await client.call_tool("payments_pay", {**arguments, "amount": 13.5})
            assert denied.is_error, denied
            assert "Call this first" in denied.content[0].text, denied


asyncio.run(main(*sys.argv[1:]))
