"""A bare forwarder and a gateway with everything on, before one server: each in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
START_TIMEOUT_S = 180.0

Running = Callable[[str, Path], Sequence[str]]
"""Returns how to start Python for the process of that name, given a folder to leave things in."""
CONFIG = """
version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///gateway.db", list_limit: 10000 }}
mcpServers: {servers}
tools:
  echo.echo: {{ effect: read, traits: {{ open_world: false }} }}
  echo.write: {{ effect: write, traits: {{ open_world: false, destructive: false }} }}
agents:
  bench: {{ owner: bench@example.com, allow: {allowed} }}
policies: [policies]
"""


def spawn(*command: str, cwd: Path = ROOT) -> tuple[subprocess.Popen[str], str]:
    """Start a process and return it with the first line it prints."""
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def environment() -> dict[str, str]:
    """Return the environment of every process here; a coverage tracer would be measured along."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def plainly(name: str, folder: Path) -> Sequence[str]:
    """Start Python as it is."""
    del name, folder
    return [sys.executable]


def configure(home: Path, servers: Mapping[str, str]) -> None:
    """Write a configuration with the starter policies in front of servers, given by name and port."""
    shutil.copytree(ROOT / "policies", home / "policies")
    urls = {
        name: {"type": "http", "url": f"http://127.0.0.1:{port}/mcp", "trust": 60} for name, port in servers.items()
    }
    written = CONFIG.format(servers=json.dumps(urls), allowed=json.dumps([f"{name}.*" for name in servers]))
    (home / "gateway.yaml").write_text(written, encoding="utf-8")


def start_gateway(home: Path, python: Sequence[str] = (sys.executable,)) -> tuple[subprocess.Popen[bytes], int]:
    """Start the gateway that is configured there; return it and its port."""
    with (home / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [*python, "-m", "gateway", "up"], cwd=home, stdout=log, stderr=log, env=environment()
        )
    note = home / ".toolgate" / "run.json"
    give_up = time.monotonic() + START_TIMEOUT_S
    while not note.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            raise SystemExit((home / "gateway.log").read_text(encoding="utf-8"))
        time.sleep(0.02)
    url = json.loads(note.read_text(encoding="utf-8"))["url"]
    return process, int(url.rsplit(":", 1)[1])


def issue_token(home: Path) -> str:
    """Return a token of the agent."""
    issued = subprocess.run(
        [sys.executable, "-m", "gateway", "token", "new", "bench", "--json"],
        cwd=home,
        env=environment(),
        capture_output=True,
        check=True,
    )
    return str(json.loads(issued.stdout)["token"])


def legacy_session(port: int, token: str) -> str:
    """Open a 2025-11-25 session and return its id."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/mcp",
        data=json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode(),
        headers={
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {token}",
        },
    )
    with urllib.request.urlopen(asked, timeout=10) as reply:
        return str(reply.headers["Mcp-Session-Id"])


@dataclass(frozen=True, slots=True)
class Stand:
    """A bare forwarder and a gateway before one server, each in a process of its own."""

    server: int
    bare: int
    gateway: int
    bare_port: int
    port: int
    token: str
    server_port: int


@contextmanager
def standing(running: Running = plainly, tools: int = 2) -> Iterator[Stand]:
    """Start them all, before a server of so many tools; stop them all at the end."""
    processes: list[subprocess.Popen[str] | subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="toolgate-bench-") as made:
        folder = Path(made)
        try:
            server, server_port = spawn(sys.executable, str(HERE / "downstream.py"), str(tools))
            processes.append(server)
            bare, bare_port = spawn(*running("bare", folder), str(HERE / "forwarder.py"), server_port)
            processes.append(bare)
            configure(folder, {"echo": server_port})
            gateway, port = start_gateway(folder, running("gateway", folder))
            processes.append(gateway)
            token = issue_token(folder)
            yield Stand(server.pid, bare.pid, gateway.pid, int(bare_port), port, token, int(server_port))
        finally:
            stop(*processes)


def stop(*processes: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """End processes, the last one first."""
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
