"""What processes take: CPU time for a load, and memory."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tests.overhead.load import Load, Target
from tests.overhead.stand import ROOT, environment

__all__ = ["cpu_cost", "cpu_seconds", "drive", "hand_overs", "resident_mib"]


def drive(target: Target, connections: int, calls: int, label: str) -> Load:
    """Run one round of load in a process of its own."""
    wanted = {"target": asdict(target), "connections": connections, "calls": calls, "label": label}
    command = [sys.executable, "-m", "tests.overhead.load", json.dumps(wanted)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the load failed: {done.stderr}")
    return Load(**json.loads(done.stdout))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time the process's threads have used: to the nanosecond, where `stat` counts hundredths."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text(encoding="ascii").split()[0]) for each in threads) / 1e9


def cpu_cost(pid: int, target: Target, calls: int, label: str) -> tuple[float, Load]:
    """Return the CPU time in microseconds that one call costs the process, and the load that showed it."""
    before = cpu_seconds(pid)
    load = drive(target, 16, calls, label)
    return (cpu_seconds(pid) - before) / load.calls * 1e6, load


def hand_overs(pid: int) -> int:
    """Return how often the process's other threads have waited for something to do, or for their turn."""
    lines = [
        line
        for task in Path(f"/proc/{pid}/task").iterdir()
        if task.name != str(pid)
        for line in (task / "status").read_text(encoding="ascii").splitlines()
    ]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def resident_mib(pid: int) -> float:
    """Return how much memory the process has, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
