"""langchain-mcp-adapters: tools as LangChain tools, a new session for every call."""

import asyncio
import sys

from langchain_core.tools import ToolException
from langchain_mcp_adapters.client import MultiServerMCPClient


async def main(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    client = MultiServerMCPClient({"toolgate": {"transport": "streamable_http", "url": url, "headers": headers}})
    tools = {tool.name: tool for tool in await client.get_tools()}
    assert "fraud_check" in tools, list(tools)
    arguments = {"payment_id": "c_langchain", "payee": "ACME", "amount": 12.5}
    checked = await tools["fraud_check"].ainvoke(arguments)
    assert "passed" in str(checked), checked
    try:
        said = str(await tools["payments_pay"].ainvoke({**arguments, "amount": 13.5}))
    except ToolException as refused:
        said = str(refused)
    assert "Call this first" in said, said


asyncio.run(main(*sys.argv[1:]))
