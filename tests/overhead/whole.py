"""What the gateway takes beside its calls: to start, to wait, to list many tools; and what calls take as it grows."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from math import inf
from pathlib import Path

from tests.overhead.growth import decision_work, steps_of_a_claim
from tests.overhead.load import Target
from tests.overhead.load import drive as ask
from tests.overhead.processes import cpu_cost, cpu_seconds, drive, resident_mib
from tests.overhead.stand import HERE, ROOT, configure, environment, issue_token, spawn, standing, start_gateway, stop
from tests.overhead.waiting import waiting_kib

__all__ = ["cold_start_s", "list_ratio", "print_whole"]

TOOLS = 500
_LISTS = 480
_ROUNDS = 4
_STARTS = 3
_LARGEST = int(os.environ.get("BENCH_LEDGER", "500000"))  # ten million take two minutes and 7 GB of disk
_SERVERS = ("one", "two", "three")


def list_ratio(enough: float = 0.0) -> float:
    """Return how many times the CPU time of sending it a list of 500 tools takes the gateway.

    The least of each over some rounds; no more of them than it takes to come to `enough`.
    """
    with standing(tools=TOOLS) as stand:
        sending = Target(stand.server_port, "", lists=f"tool_{TOOLS - 1}")
        listing = Target(stand.port, "", stand.token, lists=f"echo_tool_{TOOLS - 1}")
        drive(listing, 16, 160, "warm")
        sent = listed = inf
        for number in range(_ROUNDS):
            sent = min(sent, cpu_cost(stand.server, sending, _LISTS, f"sent-{number}")[0])
            listed = min(listed, cpu_cost(stand.gateway, listing, _LISTS, f"listed-{number}")[0])
            if listed < enough * sent:
                break
        return listed / sent


def cold_start_s() -> tuple[float, float]:
    """Return the seconds from nothing to a list with the tools of three HTTP servers, and how many of them on a CPU.

    The best of some starts.
    """
    with tempfile.TemporaryDirectory(prefix="toolgate-start-") as made:
        home = Path(made)
        servers = [spawn(sys.executable, str(HERE / "downstream.py")) for _ in _SERVERS]
        try:
            configure(home, dict(zip(_SERVERS, (port for _, port in servers), strict=True)))
            gateway, _ = start_gateway(home)
            token = issue_token(home)
            stop(gateway)
            starts = [_start_s(home, token) for _ in range(_STARTS)]
            return min(passed for passed, _ in starts), min(used for _, used in starts)
        finally:
            stop(*(server for server, _ in servers))


def _start_s(home: Path, token: str) -> tuple[float, float]:
    (home / "gateway.lock").unlink(missing_ok=True)  # what was never pinned has to be asked for
    began = time.monotonic()
    gateway, port = start_gateway(home)
    try:
        asyncio.run(ask(Target(port, "", token, lists=f"{_SERVERS[0]}_echo"), 1, 1, "start"))
        return time.monotonic() - began, cpu_seconds(gateway.pid)
    finally:
        stop(gateway)


def print_whole() -> None:
    """Print the table."""
    listing, (start, used) = list_ratio(), cold_start_s()
    with standing() as stand:
        waiting = resident_mib(stand.gateway)
    command = [sys.executable, "-m", "tests.overhead.idle"]
    session = float(subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=True).stdout)
    print("\n| beside calls | taken | budget |\n|---|--:|--:|")
    print(f"| a list of {TOOLS} tools, × sending its bytes | {listing:.1f} | 3 |")
    print(f"| cold start to the first list, three HTTP servers | {start:.1f} s, {used:.1f} s of CPU | 1.5 s |")
    print(f"| memory, idle | {waiting:.0f} MiB | 90 MiB |")
    print(f"| memory, each idle session of 2025-11-25 | {session / 1024:.0f} KiB | 20 KiB |")
    print(f"| memory, each call that waits for people | {waiting_kib():.1f} KiB | 0 |")
    _print_growth()


def _print_growth() -> None:
    print("\n| calls in the ledger | SQLite steps: look up, claim, end, record |\n|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="toolgate-growth-") as made:
        for calls in (100, 1000, 10_000, 100_000, _LARGEST):
            print(f"| {calls} | {asyncio.run(steps_of_a_claim(Path(made), calls))} |", flush=True)
    print("\n| agents with grants | tools | functions called by a decision, first / next | policies looked at |")
    print("|--:|--:|--:|--:|")
    for agents, tools in ((5, 5), (50, 50), (500, 500), (5000, 500)):
        work = decision_work(agents, tools)
        print(f"| {agents} | {tools} | {work.first} / {work.next} | {work.policies} |", flush=True)
