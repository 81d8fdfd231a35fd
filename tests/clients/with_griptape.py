"""Griptape: its MCP tool, whose activities are the gateway's tools."""

import sys

from griptape.tools.mcp.tool import MCPTool


def main(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    tools = MCPTool(connection={"transport": "streamable_http", "url": url, "headers": headers})
    payment = {"payment_id": "c_griptape", "payee": "ACME", "amount": 12.5}
    checked = tools.fraud_check({"values": payment})
    assert "passed" in checked.to_text(), checked
    refused = tools.payments_pay({"values": {**payment, "amount": 13.5}})
    assert "Call this first" in refused.to_text(), refused


main(*sys.argv[1:])
