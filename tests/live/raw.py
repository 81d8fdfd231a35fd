"""HTTP by hand: exactly the bytes a test wants to send, and the probe server behind the gateway."""

import asyncio
import json
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.live.probe_server import ECHO
from tests.live.running import ENVELOPE, LEGACY, MODERN, ROOT

__all__ = ["ERAS", "Answer", "Headers", "Peer", "changed", "kill_probe", "probe_section", "probes", "received"]

ERAS = ["modern", "legacy"]
Headers = Iterable[tuple[str, str]]
_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
_ids = count(1)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> dict[str, Any]:
        """The MCP result object."""
        assert "result" in self.json, self.body
        found: dict[str, Any] = self.json["result"]
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The JSON-RPC error object."""
        assert "error" in self.json, self.body
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def code(self) -> str | int:
        """The gateway's refusal code, `ok` for an answer, `error` for a tool's own, a number for a JSON-RPC error."""
        if "error" in self.json:
            return int(self.error["code"])
        if not self.result.get("isError"):
            return "ok"
        return str(self.result.get("_meta", {}).get("io.toolgate/refusal", {}).get("code", "error"))

    @property
    def text(self) -> str:
        """What the model reads."""
        return " ".join(block["text"] for block in self.result["content"])


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    return int(lines[0].split(" ")[1]), headers


@dataclass
class Peer:
    """Somebody who speaks HTTP to the gateway by hand, from an `address` of this machine.

    `era` None: no MCP headers but those given.
    """

    url: str
    token: str = ""
    era: str = "modern"
    session: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    async def send(self, data: bytes, *, patience_s: float = 20.0) -> Answer:
        """Send bytes on a connection of their own; return the first answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self.address, 0))
        try:
            writer.write(data)
            return await self.read(reader, patience_s)
        finally:
            writer.close()

    async def read(self, reader: asyncio.StreamReader, patience_s: float = 20.0) -> Answer:
        """Read one answer off a connection."""
        async with asyncio.timeout(patience_s):
            status, headers = await _head(reader)
            return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", 0))))

    def head(self, method: str, path: str, headers: Headers) -> bytes:
        """Return the head of a request."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace")

    def headers(self, body: bytes | None = None, **changes: str | None) -> dict[str, str]:
        """Return the headers of a well-formed request; `changes` replace or, with None, remove some (`_` for `-`)."""
        found: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}", **self.extra}
        if self.token:
            found["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            found |= {**_JSON, "Content-Length": str(len(body))}
        given = {name.replace("_", "-"): value for name, value in changes.items()}
        found = {name: value for name, value in found.items() if name.lower() not in {n.lower() for n in given}}
        return {name: value for name, value in {**found, **given}.items() if value is not None}

    async def ask(self, method: str, path: str, body: bytes | None = None, **changes: str | None) -> Answer:
        """Send one request."""
        return await self.send(self.head(method, path, self.headers(body, **changes).items()) + (body or b""))

    async def post(self, body: bytes, **changes: str | None) -> Answer:
        """Post raw bytes to `/mcp`, as this peer."""
        return await self.ask("POST", "/mcp", body, **changes)

    async def rpc(self, method: str, params: Mapping[str, Any] | None = None, **changes: str | None) -> Answer:
        """Send one request of this peer's era."""
        params = dict(params or {})
        if self.era == "modern":
            params["_meta"] = {**ENVELOPE, **params.get("_meta", {})}
            named = {"MCP_Protocol_Version": MODERN, "Mcp_Method": method}
            if method == "tools/call":
                named["Mcp_Name"] = str(params.get("name"))
        else:
            named = {"MCP_Protocol_Version": LEGACY, "Mcp_Session_Id": self.session}
        body = {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": params}
        return await self.post(json.dumps(body).encode(), **{**named, **changes})

    async def call(self, tool: str, arguments: Any = None, meta: Any = None, **changes: str | None) -> Answer:
        """Call a tool."""
        params = {"name": tool, "arguments": arguments or {}, **({"_meta": meta} if meta else {})}
        return await self.rpc("tools/call", params, **changes)

    async def connect(self) -> "Peer":
        """Make the handshake of the era, if it has one."""
        if self.era == "legacy":
            about = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": about}
            answer = await self.post(json.dumps(body).encode())
            assert answer.status == 200, answer.body
            self.session = answer.headers["mcp-session-id"]
        return self


def probe_section(folder: Path, *, name: str = "probe", era: str = "legacy", env: str = "") -> str:
    """Return an `mcpServers` line that runs the probe server on `folder`, and put its tools there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tools.json").write_text(json.dumps(ECHO), encoding="utf-8")
    program = ROOT / "tests/live/probe_server.py"
    variables = f'PROBE_DIR: "{folder}", PROBE_ERA: {era}, PYTHONPATH: "{ROOT}"{env}'
    return f'  {name}: {{ command: "${{PYTHON:-python3}}", args: ["{program}"], env: {{ {variables} }} }}\n'


def probes(sections: str, agents: str = "", more: str = "") -> str:
    """Return a configuration with these servers; `payer` and `payer2` may call all of their tools, `clerk` none."""
    return f"""version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }}
mcpServers:
{sections}
agents:
  payer:  {{ auth: {{ token: true, local: true }}, allow: ["*"] }}
  payer2: {{ auth: {{ token: true, local: true }}, allow: ["*"] }}
  clerk:  {{ allow: ["probe.echo"] }}
{agents}
{more}
"""


def changed(name: str, **fields: Any) -> list[dict[str, Any]]:
    """Return the probe server's tools, one of them with other fields."""
    return [{**each, **fields} if each["name"] == name else each for each in ECHO]


def kill_probe(folder: Path) -> None:
    """End the probe server's process as a crash would."""
    os.kill(int((folder / "pid").read_text(encoding="utf-8")), signal.SIGKILL)


def received(folder: Path) -> list[str]:
    """Return the `tools/call` lines the probe server got, as they were."""
    path = folder / "raw.jsonl"
    return path.read_bytes().decode("utf-8").split("\n")[:-1] if path.exists() else []
