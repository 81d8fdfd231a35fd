import asyncio
import os

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client


async def main() -> None:
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {os.environ['TOOLGATE_TOKEN']}"})
    async with http, Client(streamable_http_client(os.environ["TOOLGATE_URL"], http_client=http)) as client:
        for tool in (await client.list_tools()).tools:
            print(tool.name)
        check = {"payment_id": "p_42", "payee": "ACME", "amount": 250.0}
        print(await client.call_tool("fraud_check", check))
        print(await client.call_tool("payments_pay", check))


asyncio.run(main())
