import asyncio
import os

from agents.mcp import MCPServerStreamableHttp


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['TOOLGATE_TOKEN']}"}
    async with MCPServerStreamableHttp(params={"url": os.environ["TOOLGATE_URL"], "headers": headers}) as toolgate:
        print([tool.name for tool in await toolgate.list_tools()])  # or: Agent(..., mcp_servers=[toolgate])
        print(await toolgate.call_tool("payments_history", {}))


asyncio.run(main())
