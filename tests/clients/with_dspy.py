"""DSPy: a tool for each of the gateway's."""

import asyncio
import sys

import dspy
import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, token: str) -> None:
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"})
    async with http, Client(streamable_http_client(url, http_client=http)) as client:
        listed = (await client.list_tools()).tools
        tools = {tool.name: dspy.Tool.from_mcp_tool(client, tool) for tool in listed}
        payment = {"payment_id": "c_dspy", "payee": "ACME", "amount": 12.5}
        checked = await tools["fraud_check"].acall(**payment)
        assert "passed" in str(checked), checked
        try:
            said = str(await tools["payments_pay"].acall(**{**payment, "amount": 13.5}))
        except RuntimeError as error:  # what the agent is shown
            said = str(error)
        assert "Call this first" in said, said


asyncio.run(main(*sys.argv[1:]))
