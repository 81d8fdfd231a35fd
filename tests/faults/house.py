"""A real gateway in the test's own process, and the fault servers behind it, each in its own."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.fixtures.book import Book
from tests.live.inside import Inside, inside
from tests.live.raw import Answer, Peer
from tests.live.running import ROOT, environment

__all__ = ["ATTEMPTS", "HTTP", "House", "house"]

HTTP: Final = ("modern", "legacy", "sse")
ATTEMPTS: Final = 6
LARGEST: Final = 100_000
BRIEF_S: Final = 0.2
"""How long an attempt at a tool called `brief_…` may take, and a whole call of one that pays."""


@dataclass
class House:
    """What the tests of this folder use."""

    inside: Inside
    peer: Peer
    folder: Path
    numbers: "count[int]" = field(default_factory=count)

    def book(self, server: str) -> Book:
        """What that server itself has noted."""
        return Book(self.folder / server)

    async def act(self, server: str, tool: str, do: Sequence[str], **more: Any) -> tuple[str, Answer]:
        """Have a server do something when it is called; return what names it in the book, and the answer."""
        ref = f"r{next(self.numbers)}"
        answer = await self.peer.call(f"{server}_{tool}", {"ref": ref, "do": list(do), **more})
        return ref, answer

    def attempts(self, ref: str) -> list[Mapping[str, Any]]:
        """Return what the ledger has of the attempts at the one call that named `ref`."""
        with closing(sqlite3.connect(self.inside.database("gateway"))) as ledger:
            named = f"SELECT call_id FROM events WHERE body LIKE '%\"{ref}\"%'"
            rows = ledger.execute(f"SELECT body FROM events WHERE call_id IN ({named})").fetchall()
        (found,) = [body["attempts"] for body in (json.loads(row[0]) for row in rows) if "attempts" in body]
        return list(found)


def _config(folder: Path, urls: Mapping[str, str]) -> str:
    own = {"PYTHONPATH": str(ROOT), "FOLDER": str(folder / "pipes")}
    stdio = str(ROOT / "tests/fixtures/fault_stdio.py")
    pipes = {"command": sys.executable, "args": [stdio, "modern", "planned"], "env": own, "stop": {"grace_s": 0.2}}
    servers: dict[str, Any] = {
        name: {"url": url, "type": "sse" if name == "sse" else "http"} for name, url in urls.items()
    } | {"pipes": pipes}
    config = {
        "version": 1,
        "server": {"listen": "127.0.0.1:0", "store": "sqlite:///data/gateway.db"},
        "mcpServers": {name: {**section, "max_message_bytes": LARGEST} for name, section in servers.items()},
        "tools": {
            "*": {"deadline": 20},
            "*.brief_*": {"attempt": BRIEF_S},
            "*.brief_pay": {"deadline": BRIEF_S},
            "*read": {"effect": "read"},
            "*.hedged_read": {"idempotent": True, "hedge": BRIEF_S},
            "*pay": {"effect": "irreversible"},
            "*keyed": {"effect": "write", "idempotent": True, "idempotency_key": ["ref"]},
        },
        "agents": {"agent": {"auth": {"token": True, "local": True}, "allow": ["*"]}},
        "resilience": {
            "max_attempts": ATTEMPTS,
            "backoff_base_s": 0.01,
            "backoff_cap_s": 0.02,
            "breaker_calls": 10_000,
            "breaker_min_calls": 10_000,
        },
    }
    return json.dumps(config)


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    """Run everything until the block ends."""
    started = [_start(era, folder / era) for era in HTTP]
    (folder / "pipes").mkdir()
    (folder / "home").mkdir()
    try:
        urls = {era: await _url(folder / era / era) for era in HTTP}
        async with inside(folder / "home", _config(folder, urls)) as running:
            yield House(running, Peer(running.url, running.tokens["agent"]), folder)
    finally:
        for process in started:
            process.kill()
            process.wait()


def _start(era: str, folder: Path) -> "subprocess.Popen[bytes]":
    folder.mkdir()
    program = str(ROOT / "tests/faults/http_server.py")
    return subprocess.Popen([sys.executable, program, era, str(folder)], env=environment(), cwd=os.fspath(folder))


async def _url(note: Path) -> str:
    async with asyncio.timeout(30):
        while not note.exists():
            await asyncio.sleep(0.02)
    return note.read_text(encoding="utf-8")
