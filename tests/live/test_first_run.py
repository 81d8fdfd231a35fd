"""The first minutes of a new user: init on a Claude Desktop file, and the entry it leaves in there."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.running import Running
from tests.overhead.processes import cpu_seconds

BARE_PATH = "/usr/bin:/bin"
SECRET = "sk-canary-0123456789abcdef"  # a made-up value that must turn up nowhere


@dataclass(frozen=True)
class Desk:
    """A user's home with a Claude Desktop in it."""

    home: Path

    @property
    def host_file(self) -> Path:
        """Claude Desktop's own file."""
        return self.home / ".config/Claude/claude_desktop_config.json"

    def environment(self) -> dict[str, str]:
        """Return what a terminal of this user has."""
        path = f"{Path(sys.executable).parent}:/usr/local/bin:{BARE_PATH}"
        return {"HOME": str(self.home), "PATH": path, "NO_COLOR": "1"}

    def toolgate(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, in the home folder."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *args],
            cwd=self.home,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.host_file.parent.mkdir(parents=True)
    time = {"command": sys.executable, "args": ["-m", "mcp_server_time"], "env": {"API_KEY": SECRET}}
    write_servers(desk, {"time": time})
    return desk


def write_servers(desk: Desk, servers: dict[str, Any]) -> None:
    written = {"globalShortcut": "Ctrl+Space", "mcpServers": servers}
    desk.host_file.write_text(json.dumps(written), encoding="utf-8")


def add_filesystem(desk: Desk, npx: str) -> None:
    """Have the host start the official filesystem server as well; Node is no requirement of the project."""
    (desk.home / "files").mkdir()
    (desk.home / "files/note.txt").write_text("hello", encoding="utf-8")
    servers = json.loads(desk.host_file.read_text(encoding="utf-8"))["mcpServers"]
    arguments = ["-y", "@modelcontextprotocol/server-filesystem", str(desk.home / "files")]
    write_servers(desk, {**servers, "filesystem": {"command": npx, "args": arguments}})


def entry(desk: Desk) -> dict[str, Any]:
    servers: dict[str, Any] = json.loads(desk.host_file.read_text(encoding="utf-8"))["mcpServers"]
    assert list(servers) == ["toolgate"]
    found: dict[str, Any] = servers["toolgate"]
    return found


class Host:
    """Starts an entry as Claude Desktop does: a bare PATH, pipes, one JSON message a line."""

    def __init__(self, desk: Desk, started: dict[str, Any]) -> None:
        env = {"HOME": str(desk.home), "PATH": BARE_PATH, **started.get("env", {})}
        self._process = subprocess.Popen(
            [started["command"], *started["args"]],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one request and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        result: dict[str, Any] = answer["result"]
        return result

    def cpu_s(self) -> float:
        """Return the processor time it took so far."""
        return cpu_seconds(self._process.pid)

    def close(self) -> int:
        """Close the pipe, as a host does when it quits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        code = self._process.wait(30)
        self._process.stdout.close()
        return code


def hello(host: Host) -> dict[str, Any]:
    client = {"name": "claude-ai", "version": "0.1.0"}
    return host.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)


def test_init_puts_the_gateway_between_claude_desktop_and_its_servers_and_takes_it_out_again(desk: Desk) -> None:
    npx = shutil.which("npx")
    if npx is not None:
        add_filesystem(desk, npx)
    before = desk.host_file.read_text(encoding="utf-8")
    done = desk.toolgate("init", "--yes")
    assert done.returncode == 0, done.stderr
    assert "pinned" in done.stdout
    assert SECRET not in done.stdout
    assert SECRET not in (desk.home / "gateway.yaml").read_text(encoding="utf-8")
    config = (desk.home / "gateway.yaml").read_text(encoding="utf-8").replace("127.0.0.1:8750", "127.0.0.1:0")
    (desk.home / "gateway.yaml").write_text(config, encoding="utf-8")
    gateway = Running(desk.home, env=desk.environment()).start()
    assert gateway.process is not None
    try:
        host, busy = Host(desk, entry(desk)), cpu_seconds(gateway.process.pid)
        assert hello(host)["serverInfo"]["name"] == "toolgate"
        # Hosts give up after a second. On a machine that does nothing else, this is all the time it takes.
        assert host.cpu_s() + cpu_seconds(gateway.process.pid) - busy < 1
        names = {tool["name"] for tool in host.ask("tools/list")["tools"]}
        told = host.ask("tools/call", name="time_get_current_time", arguments={"timezone": "UTC"})
        assert "UTC" in told["content"][0]["text"]
        if npx is not None:
            assert "filesystem_read_text_file" in names
            note = {"path": str(desk.home / "files/note.txt")}
            read = host.ask("tools/call", name="filesystem_read_text_file", arguments=note)
            assert read["content"][0]["text"] == "hello"
        assert host.close() == 0
        assert desk.toolgate("doctor").returncode == 0
    finally:
        gateway.stop()
    assert desk.toolgate("init", "--undo", "--yes").returncode == 0
    assert json.loads(desk.host_file.read_text(encoding="utf-8")) == json.loads(before)
    assert SECRET not in gateway.log()


def test_the_bridge_starts_the_gateway_when_none_is_up_and_it_leaves_with_the_last_bridge(desk: Desk) -> None:
    assert desk.toolgate("init", "--yes").returncode == 0
    config = (desk.home / "gateway.yaml").read_text(encoding="utf-8").replace("127.0.0.1:8750", "127.0.0.1:0")
    (desk.home / "gateway.yaml").write_text(config, encoding="utf-8")
    note = desk.home / ".toolgate/run.json"
    host = Host(desk, entry(desk))
    assert hello(host)["serverInfo"]["name"] == "toolgate"
    started = json.loads(note.read_text(encoding="utf-8"))["pid"]
    assert host.close() == 0
    subprocess.run(["tail", f"--pid={started}", "-f", "/dev/null"], timeout=60, check=True)
    assert not note.exists()
