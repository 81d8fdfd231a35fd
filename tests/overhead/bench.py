"""`make bench`: what governing costs, beside a bare forwarder in the same run.

Counts user-space instructions of the process under test (`perf stat`), or its CPU time where the machine has no
counters; both are read as ratios to the forwarder. Wall time on a shared machine is printed, never judged.
`make bench ARGS=--instructions` has valgrind count instead: slower, exact on any machine, and without any wall time.
`make bench ARGS=--beside` prints only what the gateway takes beside its calls, and how that grows;
`BENCH_LEDGER=10000000` before it makes the largest ledger that large (7 GB of disk, two minutes).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.overhead.counted import Counter, can_count
from tests.overhead.deciding import print_deciding
from tests.overhead.load import Load, Target
from tests.overhead.processes import cpu_cost, drive
from tests.overhead.stand import Stand, legacy_session, standing
from tests.overhead.whole import print_whole


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `cost` is thousands of instructions, or microseconds of CPU, per call."""

    name: str
    cost: float
    one: Load
    many: Load


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: calls of a target, at the cost of a process."""

    name: str
    pid: int
    target: Target


@dataclass(frozen=True, slots=True)
class Scale:
    """How long to measure."""

    calls: int
    rounds: int


def counters_work() -> bool:
    """Tell whether `perf stat` counts instructions here."""
    if shutil.which("perf") is None:
        return False
    done = subprocess.run(["perf", "stat", "-e", "instructions:u", "true"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "not supported" not in done.stderr


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


def measure(case: Case, scale: Scale) -> Row:
    """Warm up, then take the best of several rounds."""
    drive(case.target, 16, max(160, scale.calls // 10), f"{case.name}-warm")
    rounds = [cost_of(case.pid, case.target, scale, f"{case.name}-{n}") for n in range(scale.rounds)]
    one = min(
        (drive(case.target, 1, scale.calls // 8, f"{case.name}-one{n}") for n in range(scale.rounds)),
        key=lambda x: x.p50_us,
    )
    return Row(
        case.name, min(cost for cost, _ in rounds), one, max((x for _, x in rounds), key=lambda x: x.calls / x.seconds)
    )


def cases(stand: Stand) -> list[Case]:
    """Return what is measured, the bare forwarder first."""
    read, effect = Target(stand.port, "echo_echo", stand.token), Target(stand.port, "echo_write", stand.token)
    session = legacy_session(stand.port, stand.token)
    return [
        Case("bare forwarder", stand.bare, Target(stand.bare_port, "echo")),
        Case("governed read", stand.gateway, read),
        Case("governed effect", stand.gateway, effect),
        Case("governed read, 2025-11-25", stand.gateway, replace(read, session=session)),
        Case("governed effect, 2025-11-25", stand.gateway, replace(effect, session=session)),
    ]


def by_the_clock() -> None:
    """Print what everything takes: counted by the processor where it can, else in CPU time."""
    scale = Scale(calls=int(os.environ.get("BENCH_CALLS", "4000")), rounds=int(os.environ.get("BENCH_ROUNDS", "3")))
    unit = "kinstr/call" if counters_work() else "CPU µs/call"
    print(f"Measuring {scale.rounds} rounds of {scale.calls} calls, 16 connections …", flush=True)
    with standing() as stand:
        rows = [measure(case, scale) for case in cases(stand)]
    bare = rows[0]
    print(f"\n| tools/call over Streamable HTTP | {unit} | × bare | calls/s (16) | p50 µs (1) | × bare |")
    print("|---|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row.name} | {row.cost:.0f} | {row.cost / bare.cost:.1f} | {row.many.calls / row.many.seconds:.0f} "
            f"| {row.one.p50_us:.0f} | {row.one.p50_us / bare.one.p50_us:.1f} |"
        )


def by_instructions() -> None:
    """Print what valgrind counts."""
    calls = int(os.environ.get("BENCH_CALLS", "800"))
    print(f"Counting the instructions of {calls} calls, 16 connections …", flush=True)
    counters: dict[str, Counter] = {}

    def counted(name: str, folder: Path) -> Sequence[str]:
        counter = counters[name] = Counter(folder, name)
        return counter.command

    with standing(counted) as stand:
        print("\n| tools/call over Streamable HTTP | kinstr/call | × bare | with SHA-256 by the processor |")
        print("|---|--:|--:|--:|")
        bare = 0.0
        for case in cases(stand):
            counter = counters["bare" if case.pid == stand.bare else "gateway"]
            drive(case.target, 16, 480, f"{case.name}-warm")
            cost = counter.cost(case.pid, partial(drive, case.target, 16, calls, case.name))
            bare = bare or cost.counted
            row = f"{cost.counted:.0f} | {cost.counted / bare:.1f} | {cost.with_sha256_instructions:.0f}"
            print(f"| {case.name} | {row} |", flush=True)


def main() -> int:
    """Print the table."""
    if "--beside" in sys.argv[1:]:
        print_whole()
    elif "--instructions" not in sys.argv[1:]:
        by_the_clock()
        print_deciding()
        print_whole()
    elif can_count():
        by_instructions()
    else:
        print("Instructions are counted by valgrind, which is not installed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
