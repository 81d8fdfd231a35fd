"""`make bench`: what governing costs, beside a bare forwarder in the same run.

Counts user-space instructions of the process under test (`perf stat`), or its CPU time where the machine has no
counters; both are read as ratios to the forwarder. Wall time on a shared machine is printed, never judged.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.overhead.load import Load, Target

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
START_TIMEOUT_S = 30.0
CONFIG = """
version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///gateway.db" }}
mcpServers:
  echo: {{ type: http, url: "http://127.0.0.1:{port}/mcp" }}
tools:
  echo.echo: {{ effect: read }}
  echo.write: {{ effect: write }}
agents:
  bench: {{ owner: bench@example.com, allow: ["echo.*"] }}
policies: [policies]
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `cost` is thousands of instructions, or microseconds of CPU, per call."""

    name: str
    cost: float
    one: Load
    many: Load


@dataclass(frozen=True, slots=True)
class Scale:
    """How long to measure."""

    calls: int
    rounds: int


def spawn(*command: str, cwd: Path = ROOT) -> tuple[subprocess.Popen[str], str]:
    """Start a process and return it with the first line it prints."""
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def environment() -> dict[str, str]:
    """Return the environment of every process here; a coverage tracer would be measured along."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def start_gateway(home: Path, port: int) -> tuple[subprocess.Popen[bytes], int, str]:
    """Start a gateway with the starter policies in front of the echo server; return it, its port and a token."""
    shutil.copytree(ROOT / "policies", home / "policies")
    (home / "gateway.yaml").write_text(CONFIG.format(port=port), encoding="utf-8")
    with (home / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "up"], cwd=home, stdout=log, stderr=log, env=environment()
        )
    note = home / ".toolgate" / "run.json"
    give_up = time.monotonic() + START_TIMEOUT_S
    while not note.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            raise SystemExit((home / "gateway.log").read_text(encoding="utf-8"))
        time.sleep(0.02)
    url = json.loads(note.read_text(encoding="utf-8"))["url"]
    issued = subprocess.run(
        [sys.executable, "-m", "gateway", "token", "new", "bench", "--json"],
        cwd=home,
        env=environment(),
        capture_output=True,
        check=True,
    )
    return process, int(url.rsplit(":", 1)[1]), json.loads(issued.stdout)["token"]


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


def drive(target: Target, connections: int, calls: int, label: str) -> Load:
    """Run one round of load in a process of its own."""
    wanted = {
        "target": {"port": target.port, "tool": target.tool, "token": target.token, "session": target.session},
        "connections": connections,
        "calls": calls,
        "label": label,
    }
    command = [sys.executable, "-m", "tests.overhead.load", json.dumps(wanted)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the load failed: {done.stderr}")
    return Load(**json.loads(done.stdout))


def counters_work() -> bool:
    """Tell whether `perf stat` counts instructions here."""
    if shutil.which("perf") is None:
        return False
    done = subprocess.run(["perf", "stat", "-e", "instructions:u", "true"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "not supported" not in done.stderr


def cpu_seconds(pid: int) -> float:
    """Return the CPU time the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_cost(pid: int, target: Target, calls: int, label: str) -> tuple[float, Load]:
    """Return the CPU time in microseconds that one call costs the process, and the load that showed it."""
    before = cpu_seconds(pid)
    load = drive(target, 16, calls, label)
    return (cpu_seconds(pid) - before) / load.calls * 1e6, load


def cost_of(pid: int, target: Target, scale: Scale, label: str) -> tuple[float, Load]:
    """Return what one call costs the process, and the load that showed it."""
    if not counters_work():
        return cpu_cost(pid, target, scale.calls, label)
    with tempfile.NamedTemporaryFile() as counted:
        perf = subprocess.Popen(
            ["perf", "stat", "-x", ",", "-e", "instructions:u", "-o", counted.name, "-p", str(pid)],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.3)  # perf gives no sign of having attached
        load = drive(target, 16, scale.calls, label)
        perf.send_signal(2)
        perf.wait(10)
        lines = Path(counted.name).read_text(encoding="ascii").splitlines()
    count = next(float(line.split(",")[0]) for line in lines if "instructions" in line)
    return count / load.calls / 1000, load


def measure(name: str, pid: int, target: Target, scale: Scale) -> Row:
    """Warm up, then take the best of several rounds."""
    drive(target, 16, max(160, scale.calls // 10), f"{name}-warm")
    rounds = [cost_of(pid, target, scale, f"{name}-{n}") for n in range(scale.rounds)]
    one = min(
        (drive(target, 1, scale.calls // 8, f"{name}-one{n}") for n in range(scale.rounds)), key=lambda x: x.p50_us
    )
    return Row(
        name, min(cost for cost, _ in rounds), one, max((x for _, x in rounds), key=lambda x: x.calls / x.seconds)
    )


@dataclass(frozen=True, slots=True)
class Stand:
    """A bare forwarder and a gateway before one server, each in a process of its own."""

    bare: int
    gateway: int
    bare_port: int
    port: int
    token: str


@contextmanager
def standing() -> Iterator[Stand]:
    """Start them all; stop them all at the end."""
    processes: list[subprocess.Popen[str] | subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="toolgate-bench-") as folder:
        try:
            server, server_port = spawn(sys.executable, str(HERE / "downstream.py"))
            processes.append(server)
            bare, bare_port = spawn(sys.executable, str(HERE / "forwarder.py"), server_port)
            processes.append(bare)
            gateway, port, token = start_gateway(Path(folder), int(server_port))
            processes.append(gateway)
            yield Stand(bare.pid, gateway.pid, int(bare_port), port, token)
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                process.wait(30)
                if process.stdout is not None:
                    process.stdout.close()


def run(scale: Scale) -> list[Row]:
    """Measure the forwarder and the gateway."""
    with standing() as stand:
        read, effect = Target(stand.port, "echo_echo", stand.token), Target(stand.port, "echo_write", stand.token)
        session = legacy_session(stand.port, stand.token)
        return [
            measure("bare forwarder", stand.bare, Target(stand.bare_port, "echo"), scale),
            measure("governed read", stand.gateway, read, scale),
            measure("governed effect", stand.gateway, effect, scale),
            measure("governed read, 2025-11-25", stand.gateway, replace(read, session=session), scale),
        ]


def main() -> int:
    """Print the table."""
    scale = Scale(calls=int(os.environ.get("BENCH_CALLS", "4000")), rounds=int(os.environ.get("BENCH_ROUNDS", "3")))
    unit = "kinstr/call" if counters_work() else "CPU µs/call"
    print(f"Measuring {scale.rounds} rounds of {scale.calls} calls, 16 connections …", flush=True)
    rows = run(scale)
    bare = rows[0]
    print(f"\n| tools/call over Streamable HTTP | {unit} | × bare | calls/s (16) | p50 µs (1) | × bare |")
    print("|---|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row.name} | {row.cost:.0f} | {row.cost / bare.cost:.1f} | {row.many.calls / row.many.seconds:.0f} "
            f"| {row.one.p50_us:.0f} | {row.one.p50_us / bare.one.p50_us:.1f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
