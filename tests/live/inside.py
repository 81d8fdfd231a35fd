"""A real gateway in the test's own process, so that its clock can be set by hand. Servers, HTTP and SQLite are real."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.types import CallToolResult

from examples.payments.agent import over_http, over_stdio
from gateway.app import Gateway, Home
from gateway.cli.loaded import load_now
from gateway.identity.tokens import Tokens
from gateway.model.clock import RandomIds, SystemClock
from gateway.model.errors import IdentityFault, StoreFault
from gateway.model.identity import Credential
from gateway.redaction.redactor import Redactor
from gateway.transport.server import listen, serving
from tests.live.running import PATH, PAYMENTS, ROOT
from tests.replaying import check_replay

AGENTS = """
  payer2: { owner: other@acme.example, auth: { token: true, local: true }, allow: ["fraud.*", "payments.*"] }
workflows:"""


class SetClock(SystemClock):
    """The wall clock stands still until a test moves it; waiting is real."""

    def __init__(self) -> None:
        self.ms = super().now_ms()

    def now_ms(self) -> int:
        return self.ms


@dataclass(frozen=True)
class Inside:
    """A gateway under test."""

    gateway: Gateway
    clock: SetClock
    home: Path
    url: str
    tokens: dict[str, str]

    @asynccontextmanager
    async def client(self, door: str, agent: str = "payer", run: str = "") -> AsyncIterator[Client]:
        """Connect an MCP client through one of the doors: modern, legacy, stdio-modern, stdio-legacy."""
        mode = "legacy" if door.endswith("legacy") else "auto"
        if door.startswith("stdio"):
            config = str(self.home / "gateway.yaml")
            bridge = ["-m", "gateway", "stdio", "--config", config, "--agent", agent]
            async with over_stdio(sys.executable, bridge, mode=mode) as client:
                yield client
        else:
            async with over_http(self.url, self.tokens[agent], mode=mode) as client:
                yield client

    def database(self, name: str) -> Path:
        """Return the SQLite file of one of the example's servers, or of the gateway."""
        return self.home / "data" / f"{name}.db"


async def call(client: Client, tool: str, arguments: dict[str, Any], **meta: Any) -> CallToolResult:
    """Call a tool; keywords become the gateway's own `_meta` keys: run, idempotency_key, dry_run."""
    named = {f"io.toolgate/{key.replace('_', '-')}": value for key, value in meta.items()}
    result = await client.call_tool(tool, arguments, meta=named or None)  # type: ignore[arg-type]
    assert isinstance(result, CallToolResult)
    return result


def code(result: CallToolResult) -> str:
    """Return the gateway's refusal code, `ok` for an answer, `error` for the tool's own error."""
    if not result.is_error:
        return "ok"
    return str((result.meta or {}).get("io.toolgate/refusal", {}).get("code", "error"))


@asynccontextmanager
async def inside(
    home: Path, config: str = PAYMENTS, environment: dict[str, str] | None = None, clock: SetClock | None = None
) -> AsyncIterator[Inside]:
    """Run the payments example (with a second payer) until the block ends."""
    clock = clock or SetClock()
    os.environ.update({"PYTHON": sys.executable, "PYTHONPATH": PATH, "DATA": str(home / "data")})
    os.environ.update(environment or {})
    (home / "gateway.yaml").write_text(config.replace("\nworkflows:", AGENTS), encoding="utf-8")
    (home / "policies").mkdir(exist_ok=True)
    for source in (ROOT / "examples/payments/policies").glob("*.cedar"):
        (home / "policies" / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    loaded = load_now(home / "gateway.yaml")
    listener = listen("127.0.0.1", 0)
    host, port = listener.getsockname()
    gateway = Gateway(loaded.config, Home(home), Redactor(loaded.secrets), clock)
    try:
        await gateway.start(host, port)
        issuer = Tokens(gateway.store, clock, RandomIds())
        bearers = [name for name, agent in loaded.config.agents.items() if agent.auth.accepts_token]
        tokens = {name: (await issuer.issue(name)).token for name in bearers}
        for token in tokens.values():
            await _known(gateway, token)
        url = f"http://{host}:{port}"
        note = home / ".toolgate" / "run.json"
        await asyncio.to_thread(note.write_text, json.dumps({"pid": os.getpid(), "url": url}))
        async with serving(gateway.asgi, listener):
            yield Inside(gateway, clock, home, f"{url}/mcp", tokens)
        await check_replay(gateway.store)
    finally:
        await gateway.close()
        listener.close()


async def _known(gateway: Gateway, token: str) -> None:
    """Wait until the gateway knows a token; it reads them ten times a second at most, and not on a machine too busy."""
    while True:
        try:
            await gateway.authenticator.identify(Credential("bearer", token), loopback=True)
        except (IdentityFault, StoreFault):
            await asyncio.sleep(0.02)
        else:
            return


async def post(inside: Inside, body: bytes, **headers: str) -> httpx2.Response:
    """Send raw bytes to `/mcp`."""
    sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient() as http:
        return await http.post(inside.url, content=body, headers=sent)
