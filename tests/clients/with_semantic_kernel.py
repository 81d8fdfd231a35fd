"""Semantic Kernel: its MCP plugin."""

import asyncio
import sys

from semantic_kernel import Kernel
from semantic_kernel.connectors.mcp import MCPStreamableHttpPlugin
from semantic_kernel.exceptions import FunctionExecutionException


async def main(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with MCPStreamableHttpPlugin(name="toolgate", url=url, headers=headers) as plugin:
        kernel = Kernel()
        functions = kernel.add_plugin(plugin).functions
        assert "fraud_check" in functions, list(functions)
        arguments = {"payment_id": "c_sk", "payee": "ACME", "amount": 12.5}
        checked = await plugin.call_tool("fraud_check", **arguments)
        assert "passed" in str([str(each) for each in checked]), checked
        try:
            said = str([str(each) for each in await plugin.call_tool("payments_pay", **{**arguments, "amount": 13.5})])
        except FunctionExecutionException as refused:
            said = str(refused) + str(refused.__cause__)
        assert "Call this first" in said, said


asyncio.run(main(*sys.argv[1:]))
