"""How many instructions a process takes for one call, counted by callgrind: on a busy machine as on a quiet one.

Kernel time is not in it. A process runs some fifty times slower under callgrind, so what a process does by the clock
(reading its tokens, say) weighs more per call than it would; a round of nothing tells how much, and is taken off.
Valgrind knows no instructions for SHA-256: the rounds of a block of 64 bytes, counted there, take 1,788. The loop of
OpenSSL for processors that know them has 171. What the whole takes on such a processor is told beside what is counted.
"""

import re
import shutil
import subprocess
import sys
import time
from collections import Counter as Tally
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.overhead.load import Load

__all__ = ["Cost", "Counter", "can_count"]


class Cost(NamedTuple):
    """What each call takes, in thousands of instructions: as counted, and what of that is rounds of SHA-256."""

    counted: float
    rounds: float

    @property
    def with_sha256_instructions(self) -> float:
        """What it takes where the processor knows SHA-256."""
        return self.counted - self.rounds * (1 - 171 / 1788)


def can_count() -> bool:
    """Tell whether valgrind is installed."""
    return shutil.which("valgrind") is not None and shutil.which("vgdb") is not None


class Counter:
    """Counts for one process, which is started with `command` in the place of Python's."""

    def __init__(self, folder: Path, name: str) -> None:
        self._out = folder / f"callgrind.{name}"
        self._dumps = 0
        valgrind = ("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self._out}")
        self.command = (*valgrind, sys.executable)

    def cost(self, pid: int, drive: Callable[[], Load]) -> Cost:
        """Return what each call of a load takes."""
        started = time.monotonic()
        taken, rounds, load = self._count(pid, drive)
        took_s = time.monotonic() - started
        nothing, rounds_of_nothing, _ = self._count(pid, lambda: time.sleep(took_s))
        assert load is not None
        return Cost((taken - nothing) / load.calls / 1000, (rounds - rounds_of_nothing) / load.calls / 1000)

    def _count(self, pid: int, work: Callable[[], Load | None]) -> tuple[int, int, Load | None]:
        _tell(pid, "instrumentation", "on")
        _tell(pid, "zero")
        load = work()
        _tell(pid, "dump")
        _tell(pid, "instrumentation", "off")
        self._dumps += 1
        text = Path(f"{self._out}.{self._dumps}").read_text(encoding="ascii", errors="replace")
        taken = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("totals:"))
        return taken, max(_within("libcrypto", text).values(), default=0), load


def _within(library: str, text: str) -> Tally[str]:
    """Count what each function of a library takes by itself. OpenSSL's dearest is the one with SHA-256's rounds."""
    taken: Tally[str] = Tally()
    number = next(iter(re.findall(rf"ob=(\(\d+\)) .*{library}", text)), "none")  # a name stands at its first use only
    inside, function, called = False, "", False
    for line in text.splitlines():
        if line.startswith("ob="):
            inside = line.startswith(f"ob={number}")
        elif line.startswith("fn="):
            function = line.partition(" ")[0]
        elif line.startswith("calls="):
            called = True
        elif re.match(r"[+*-]?\d* \d", line):
            if inside and not called:
                taken[function] += int(line.split()[1])
            called = False
    return taken


def _tell(pid: int, *words: str) -> None:
    subprocess.run(["vgdb", f"--pid={pid}", *words], capture_output=True, check=True, timeout=60)
