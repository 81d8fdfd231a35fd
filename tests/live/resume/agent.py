"""An agent that reconciles in 50 steps: any MCP client, which knows nothing of runs. It starts at step 1 each time.

python -m tests.live.resume.agent URL TOKEN JOB ATTEMPT
"""

import asyncio
import sys

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

STEPS = 50


async def main(url: str, token: str, job: str, attempt: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Toolgate-Run": job, "Toolgate-Attempt": attempt}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        for n in range(1, STEPS, 2):
            entry = await client.call_tool("books_entry", {"job": job, "n": n})
            assert entry.structured_content == {"amount": 100 + n}, entry
            amount = entry.structured_content["amount"]
            posting = await client.call_tool("books_post", {"job": job, "n": n + 1, "amount": amount})
            assert posting.structured_content == {"receipt": f"{job}-{n + 1}"}, posting


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
