"""A fake gateway and a real bridge, each over real pipes and sockets."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.bridge.launch import Home, Launcher
from gateway.bridge.relay import Output, Relay
from gateway.bridge.stdio import run
from tests.bridge.fake_gateway import FakeGateway

LONGEST_LINE = 256 * 1024


class Bridge:
    """A bridge on its own thread, driven as a host drives it: lines in, lines out."""

    def __init__(self, folder: Path, command: Sequence[str] = (), limit: int = 256) -> None:
        hears, says = os.pipe()
        answers, writes = os.pipe()
        self._in = os.fdopen(says, "wb")
        self.out = os.fdopen(answers, "rb")
        self._writes = writes
        self._lines = os.fdopen(hears, "rb")
        launcher = Launcher(Home(folder / "gateway.yaml"), "local", command, patience_s=20)
        self._relay = Relay(launcher, Output(writes), limit)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        run(self._relay, self._lines, longest=LONGEST_LINE)
        os.close(self._writes)

    def say(self, message: Any) -> None:
        self._in.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        self._in.flush()

    def ask(self, identifier: Any, method: str, params: dict[str, Any] | None = None) -> None:
        self.say({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params or {}})

    def call(self, identifier: Any, name: str, **more: Any) -> None:
        self.ask(identifier, "tools/call", {"name": name, "arguments": {}, **more})

    def hear(self) -> Any:
        line = self.out.readline()
        assert line.endswith(b"\n"), "the bridge closed its output"
        return json.loads(line)

    def open(self) -> Any:
        """Do what a client of the session protocol does first."""
        self.ask(0, "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
        answer = self.hear()
        self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def leave(self) -> bytes:
        """Close its input, as a host does; return what it still had to say."""
        self._in.close()
        rest = self.out.read()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return rest

    def close(self) -> None:
        if not self._in.closed:
            self.leave()
        self.out.close()
        self._lines.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    server = FakeGateway(tmp_path)
    server.publish()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def make_bridge(tmp_path: Path) -> Iterator[Callable[..., Bridge]]:
    made: list[Bridge] = []

    def make(**options: Any) -> Bridge:
        made.append(Bridge(tmp_path, **options))
        return made[-1]

    yield make
    for bridge in made:
        bridge.close()


@pytest.fixture
def bridge(gateway: FakeGateway, make_bridge: Callable[..., Bridge]) -> Bridge:
    return make_bridge(command=("false",))


@pytest.fixture
def starter(tmp_path: Path) -> tuple[str, ...]:
    """The command that starts a fake gateway of its own process."""
    return (sys.executable, "-m", "tests.bridge.fake_gateway", "--config", str(tmp_path / "gateway.yaml"), "--lease")


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., "subprocess.Popen[bytes]"]:
    """Start the real command in a process with a bare environment."""

    def start(*arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", "stdio", "--config", str(tmp_path / "gateway.yaml"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", **{k: v for k, v in os.environ.items() if k.startswith("COV")}},
        )

    return start
