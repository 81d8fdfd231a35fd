"""A server that keeps books: every posting is a line of its own file. It can be held in the middle of a step."""

import asyncio
import os
from pathlib import Path
from typing import TypedDict

from mcp.server.mcpserver import MCPServer

FOLDER = Path(os.environ["BOOKS"])
POSTED = FOLDER / "posted"
server = MCPServer("books")


class Entry(TypedDict):
    amount: int


class Posting(TypedDict):
    receipt: str


class Found(TypedDict, total=False):
    found: bool
    receipt: str


async def held(job: str, n: int) -> None:
    """Wait for as long as `hold` names this step, having said so."""
    hold = FOLDER / "hold"
    if hold.exists() and hold.read_text(encoding="utf-8") == f"{job} {n}":
        (FOLDER / "held").touch()
        while hold.exists():
            await asyncio.sleep(0.01)


@server.tool()
async def entry(job: str, n: int) -> Entry:
    """Read one entry."""
    await held(job, n)
    return {"amount": 100 + n}


@server.tool()
async def post(job: str, n: int, amount: int) -> Posting:
    """Post one amount. Who posts twice has posted twice."""
    with POSTED.open("a", encoding="utf-8") as file:
        file.write(f"{job} {n}\n")
    await held(job, n)
    return {"receipt": f"{job}-{n}"}


@server.tool()
async def find(job: str, n: int) -> Found:
    """Say whether something was posted."""
    is_posted = POSTED.exists() and f"{job} {n}" in POSTED.read_text(encoding="utf-8").splitlines()
    return {"found": True, "receipt": f"{job}-{n}"} if is_posted else {"found": False}


if __name__ == "__main__":
    server.run("stdio")
