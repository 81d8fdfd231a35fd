"""AutoGen: its MCP tools."""

import asyncio
import sys
from collections.abc import Iterator

from autogen_core import CancellationToken
from autogen_ext.tools.mcp import StreamableHttpServerParams, mcp_server_tools


async def main(url: str, token: str) -> None:
    params = StreamableHttpServerParams(url=url, headers={"Authorization": f"Bearer {token}"})
    tools = {tool.name: tool for tool in await mcp_server_tools(params)}
    assert "fraud_check" in tools, list(tools)
    arguments = {"payment_id": "c_autogen", "payee": "ACME", "amount": 12.5}
    checked = await tools["fraud_check"].run_json(arguments, CancellationToken())
    assert "passed" in tools["fraud_check"].return_value_as_string(checked), checked
    try:
        refused = await tools["payments_pay"].run_json({**arguments, "amount": 13.5}, CancellationToken())
        said = tools["payments_pay"].return_value_as_string(refused)
    except BaseExceptionGroup as group:
        said = " ".join(_texts(group))
    assert "Call this first" in said, said


def _texts(error: BaseException) -> Iterator[str]:
    yield str(error)
    for one in getattr(error, "exceptions", ()):
        yield from _texts(one)


asyncio.run(main(*sys.argv[1:]))
