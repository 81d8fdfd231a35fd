"""The fault server over HTTP as a process of its own: `http_server.py ERA FOLDER`. It writes its URL to FOLDER/ERA."""

import asyncio
import sys
from pathlib import Path

from tests.faults.plan import TOOLS, step
from tests.fixtures import http_faults, sse_faults
from tests.fixtures.book import Book
from tests.fixtures.fault_http import Exchange, FaultServer


async def main(era: str, folder: Path) -> None:
    book = Book(folder)

    async def act(exchange: Exchange) -> None:
        what = step(book, exchange.seen.message["params"])
        if what == "ok":
            exchange.answer(exchange.result(content=[]))
        else:
            own = sse_faults if era == "sse" else http_faults
            await getattr(own, what, getattr(http_faults, what, None))(exchange)

    faults = {str(tool["name"]): act for tool in TOOLS}
    async with FaultServer(era, faults, tools=TOOLS) as server:
        note = folder / f"{era}.new"
        note.write_text(server.url, encoding="utf-8")
        note.rename(folder / era)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
