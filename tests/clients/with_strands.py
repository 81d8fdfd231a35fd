"""Strands Agents: its MCP client."""

import sys

import httpx2
from mcp.client.streamable_http import streamable_http_client
from strands.tools.mcp import MCPClient


def main(url: str, token: str) -> None:
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"})
    with MCPClient(lambda: streamable_http_client(url, http_client=http)) as client:
        names = [tool.tool_name for tool in client.list_tools_sync()]
        assert "fraud_check" in names, names
        arguments = {"payment_id": "c_strands", "payee": "ACME", "amount": 12.5}
        checked = client.call_tool_sync("1", "fraud_check", arguments)
        assert "passed" in str(checked), checked
        refused = client.call_tool_sync("2", "payments_pay", {**arguments, "amount": 13.5})
        assert refused["status"] == "error", refused
        assert "Call this first" in str(refused), refused


main(*sys.argv[1:])
