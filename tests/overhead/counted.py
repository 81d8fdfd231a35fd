"""How many instructions a process takes for one call, counted by callgrind: on a busy machine as on a quiet one.

Kernel time is not in it. A process runs some fifty times slower under callgrind, so what a process does by the clock
(reading its tokens, say) weighs more per call than it would; a round of nothing tells how much, and is taken off.
Valgrind knows no instructions for SHA-256: hashing what is recorded weighs several times what it does on a processor
that has them, some 40 thousand instructions of a read.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.overhead.load import Load

__all__ = ["Counter", "can_count"]


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

    def cost(self, pid: int, drive: Callable[[], Load]) -> float:
        """Return how many thousands of instructions each call of a load takes."""
        started = time.monotonic()
        taken, load = self._count(pid, drive)
        took_s = time.monotonic() - started
        nothing, _ = self._count(pid, lambda: time.sleep(took_s))
        assert load is not None
        return (taken - nothing) / load.calls / 1000

    def _count(self, pid: int, work: Callable[[], Load | None]) -> tuple[int, Load | None]:
        _tell(pid, "instrumentation", "on")
        _tell(pid, "zero")
        load = work()
        _tell(pid, "dump")
        _tell(pid, "instrumentation", "off")
        self._dumps += 1
        text = Path(f"{self._out}.{self._dumps}").read_text(encoding="ascii", errors="replace")
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("totals:")), load


def _tell(pid: int, *words: str) -> None:
    subprocess.run(["vgdb", f"--pid={pid}", *words], capture_output=True, check=True, timeout=60)
