"""smolagents: its MCP client."""

import sys

from smolagents import MCPClient


def main(url: str, token: str) -> None:
    server = {"url": url, "transport": "streamable-http", "headers": {"Authorization": f"Bearer {token}"}}
    with MCPClient(server, structured_output=True) as found:
        tools = {tool.name: tool for tool in found}
        assert "fraud_check" in tools, list(tools)
        arguments = {"payment_id": "c_smol", "payee": "ACME", "amount": 12.5}
        checked = tools["fraud_check"](**arguments)
        assert "passed" in str(checked), checked
        said = str(tools["payments_pay"](**{**arguments, "amount": 13.5}))
        assert "Call this first" in said, said


main(*sys.argv[1:])
