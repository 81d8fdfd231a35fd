"""Microsoft's Agent Framework: its MCP tool."""

import asyncio
import sys
from typing import Any

from agent_framework import MCPStreamableHTTPTool
from agent_framework.exceptions import ToolExecutionException


async def main(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with MCPStreamableHTTPTool(name="toolgate", url=url, header_provider=lambda _: headers) as tool:
        names = [each.name for each in tool.functions]
        assert "fraud_check" in names, names
        arguments = {"payment_id": "c_maf", "payee": "ACME", "amount": 12.5}
        checked = await tool.call_tool("fraud_check", **arguments)
        assert "passed" in _said(checked), checked
        try:
            said = _said(await tool.call_tool("payments_pay", **{**arguments, "amount": 13.5}))
        except ToolExecutionException as refused:
            said = str(refused)
        assert "Call this first" in said, said


def _said(contents: Any) -> str:
    return contents if isinstance(contents, str) else " ".join(str(each.text) for each in contents)


asyncio.run(main(*sys.argv[1:]))
