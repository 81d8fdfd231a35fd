"""A real gateway in its own process, and raw requests to it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from typer.testing import CliRunner, Result

from gateway.cli import build
from tests.replaying import replay_file

ROOT = Path(__file__).parent.parent.parent
PATH = f"{ROOT}{os.pathsep}{ROOT / 'tests/fixtures/quick'}"
"""`PYTHONPATH` of the gateway and of the servers that it starts."""
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
ENVELOPE: Mapping[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
PAYMENTS = (
    (ROOT / "examples/payments/gateway.yaml").read_text(encoding="utf-8").replace("127.0.0.1:8750", "127.0.0.1:0")
)


def payments_alone(home: Path, rule: str) -> str:
    """Return the beginning of a configuration with the example's payments server, `payments.pay` under a rule."""
    return f"""version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }}
mcpServers:
  payments:
    command: "{sys.executable}"
    args: ["-m", "examples.payments.servers.payments"]
    env: {{ PAYMENTS_DB: "{home}/data/payments.db", PYTHONPATH: "{PATH}" }}
tools:
  payments.pay: {{ {rule} }}
"""


def environment(**extra: str) -> dict[str, str]:
    """Return what the gateway and the example's servers need around them."""
    return {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": PATH, "NO_COLOR": "1", **extra}


@dataclass
class Running:
    """One gateway on its own folder, run by a `python`; it can be stopped, killed and started again."""

    home: Path
    env: dict[str, str] = field(default_factory=environment)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    python: str = sys.executable

    def start(self, *, timeout_s: float = 30.0) -> "Running":
        """Start `toolgate up` and wait until it serves."""
        note = self.home / ".toolgate" / "run.json"
        note.unlink(missing_ok=True)
        with (self.home / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "gateway", "up"], cwd=self.home, env=self.env, stdout=log, stderr=log
            )
        give_up = time.monotonic() + timeout_s
        while not note.exists():
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"the gateway did not start:\n{self.log()}")
            time.sleep(0.02)
        self.url = json.loads(note.read_text(encoding="utf-8"))["url"]
        return self

    def stop(self) -> int:
        """Ask it to stop and wait; return its exit code. What it has decided, by its record, is decided so again."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(30)
        for place in (self.home, self.home / "data"):
            replay_file(place / "gateway.db")
        return code

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def log(self) -> str:
        """Return what it wrote to its log."""
        return (self.home / "gateway.log").read_text(encoding="utf-8")

    def command(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a toolgate command on the same folder: in this process where that is the same and ends; it is quicker."""
        ours = self.python == sys.executable and self.env["PYTHONPATH"] == PATH and args[0] != "up"
        done = command_inside(self.home, self.env, *args) if ours else self._command_beside(args)
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done

    def _command_beside(self, args: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, "-m", "gateway", *args],
            cwd=self.home,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def token(self, agent: str) -> str:
        """Make an API token and wait until the gateway knows it."""
        token = str(json.loads(self.command("token", "new", agent, "--json").stdout)["token"])
        give_up = time.monotonic() + 5
        while self.rpc("tools/list", token=token).status_code == 401:
            assert time.monotonic() < give_up, "the gateway never learnt of the token"
            time.sleep(0.05)
        return token

    def rpc(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> httpx2.Response:
        """Send one request of the 2026-07-28 era."""
        body_params = {**(params or {}), "_meta": {**ENVELOPE, **(meta or {})}}
        sent = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": method,
        }
        if method == "tools/call" and params is not None:
            sent["Mcp-Name"] = str(params.get("name"))
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": body_params}
        return httpx2.post(f"{self.url}/mcp", json=body, headers={**sent, **(headers or {})}, timeout=30)

    def call(self, token: str, tool: str, arguments: Mapping[str, Any], **meta: Any) -> dict[str, Any]:
        """Call a tool; return the MCP result object. Keywords become `_meta` keys of the gateway: run, key."""
        names = {"run": "io.toolgate/run", "key": "io.toolgate/idempotency-key"}
        reply = self.rpc(
            "tools/call",
            {"name": tool, "arguments": arguments},
            token=token,
            meta={names[name]: value for name, value in meta.items()},
        )
        answer = reply.json()
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result


def refusal(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the machine-readable refusal in a result."""
    assert result["isError"] is True, result
    found: dict[str, Any] = result["_meta"]["io.toolgate/refusal"]
    return found


def command_inside(home: Path, env: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """Run a toolgate command in a folder without a process of its own, which takes half a second to begin."""

    def run() -> Result:
        with chdir(home):
            return CliRunner(env=env).invoke(build(), args)

    with ThreadPoolExecutor(1) as thread:  # the command has an event loop of its own
        done = thread.submit(run).result()
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)


@contextmanager
def payments_gateway(home: Path) -> Iterator[Running]:
    """Run the payments example in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "gateway.yaml").write_text(PAYMENTS, encoding="utf-8")
    policies = home / "policies"
    policies.mkdir(exist_ok=True)
    for source in (ROOT / "examples/payments/policies").glob("*.cedar"):
        (policies / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    running = Running(home, environment(DATA="data")).start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()
