"""The OAuth fixture server as a test speaks to it, and a keeper with upstreams over it."""

import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from gateway.connector import Behalf, Surroundings, ToolCall, Upstream
from gateway.connector.registry import build_upstream, load_connectors
from gateway.credentials.keeper import Keeper
from gateway.model.clock import Clock, SystemClock
from gateway.redaction.redactor import Redactor
from gateway.store.ports import Record

SERVER = Path(__file__).parents[1] / "fixtures" / "oauth_server.py"
SECRET = "client-secret-4eC39HqLyjW"


@dataclass(frozen=True)
class Authority:
    """The authorization server and the MCP server behind it."""

    url: str

    @property
    def mcp(self) -> str:
        return f"{self.url}/mcp"

    def control(self, **habits: Any) -> None:
        httpx2.post(f"{self.url}/control", json=habits).raise_for_status()

    def seen(self, what: str) -> list[dict[str, Any]]:
        return [each[what] for each in httpx2.get(f"{self.url}/seen").json()["seen"] if what in each]

    def count(self) -> Counter[str]:
        return Counter(httpx2.get(f"{self.url}/seen").json()["count"])

    def vouch(self, **claims: Any) -> str:
        """Return a JWT of the issuer of people."""
        return httpx2.post(f"{self.url}/vouch", json=claims).text

    def section(self, kind: str = "client_credentials", **auth: Any) -> dict[str, Any]:
        """Return an `mcpServers` entry; `issuer` and `client_id` as the server knows them, unless told otherwise."""
        usual = {"type": kind, "issuer": self.url, "client_id": "acme", "client_secret": SECRET}
        chosen = {name: value for name, value in {**usual, **auth}.items() if value is not None}
        return {"url": self.mcp, "protocol": "legacy", "auth": chosen}


@contextmanager
def authority() -> Iterator[Authority]:
    """Run the server in a process of its own."""
    command = [sys.executable, str(SERVER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Authority(process.stdout.readline().strip())
        finally:
            process.kill()


@dataclass
class Ring:
    """A keeper, what it recorded, and upstreams that use it."""

    keeper: Keeper
    events: list[Record]
    held: set[str]
    redactor: Redactor
    clock: Clock
    folder: Path
    opened: list[Upstream] = field(default_factory=list)

    async def record(self, record: Record) -> None:
        self.events.append(record)

    def build(self, section: Mapping[str, Any], name: str = "oauth") -> Upstream:
        lent = Surroundings(
            self.clock, redact=self.redactor.text, credential=self.keeper.credential, folder=self.folder
        )
        upstream = build_upstream(name, section, load_connectors(), lent, environ={})
        self.opened.append(upstream)
        return upstream

    async def open(self, section: Mapping[str, Any], name: str = "oauth") -> Upstream:
        upstream = self.build(section, name)
        await upstream.open()
        return upstream


@asynccontextmanager
async def ring(home: Path, clock: Clock | None = None) -> AsyncIterator[Ring]:
    """Have a keeper in `home`; whatever it opened is closed at the end."""
    events: list[Record] = []
    held: set[str] = set()
    redactor = Redactor()

    def hold(values: frozenset[str]) -> None:
        held.update(values)
        redactor.hold(values)

    class _Book:
        async def record(self, record: Record) -> None:
            events.append(record)

    clock = clock or SystemClock()
    keeper = Keeper(home / ".toolgate", clock, hold, _Book())
    made = Ring(keeper, events, held, redactor, clock, home)
    try:
        yield made
    finally:
        for upstream in made.opened:
            await upstream.close()
        await keeper.close()


async def said(upstream: Upstream, tool: str = "t0", behalf: Behalf | None = None) -> str:
    """Return what the server answers: whose token it saw."""
    call = ToolCall(tool, {}, "call_test", 20.0, behalf=behalf or Behalf())
    return str((await upstream.call(call))["content"][0]["text"])
