"""Haystack's tools over MCP, called as its agents call them."""

import sys

from haystack.tools.errors import ToolInvocationError
from haystack.utils import Secret
from haystack_integrations.tools.mcp import MCPToolset, StreamableHttpServerInfo


def main(url: str, token: str) -> None:
    toolset = MCPToolset(server_info=StreamableHttpServerInfo(url=url, token=Secret.from_token(token)))
    toolset.warm_up()
    tools = {tool.name: tool for tool in toolset}
    assert "fraud_check" in tools, list(tools)
    arguments = {"payment_id": "c_haystack", "payee": "ACME", "amount": 12.5}
    checked = tools["fraud_check"].invoke(**arguments)
    assert "passed" in str(checked), checked
    refusal = ""
    try:
        tools["payments_pay"].invoke(**{**arguments, "amount": 13.5})
    except ToolInvocationError as error:  # whose text its agents give to the model
        refusal = str(error)
    assert "Call this first" in refusal, refusal
    toolset.close()


main(*sys.argv[1:])
