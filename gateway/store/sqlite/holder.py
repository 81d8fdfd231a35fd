"""Who keeps others from a database file: what a person has to know who finds it locked."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["holders_of"]

_LOCKS: Final = Path("/proc/locks")
_NO_NAME: Final = "?"


def holders_of(path: Path, locks: Path = _LOCKS) -> str:
    """Name the other processes that hold a lock on a database file; where the system does not tell, say how to ask.

    Those that write come first and alone; else it is whoever reads.
    """
    found = sorted(_others(path, locks))
    writers = [pid for writes, pid in found if writes]
    pids = dict.fromkeys(writers or [pid for _, pid in found])
    if not pids:
        return f"find the process that holds the file with: lsof {path}"
    return "held by " + ", ".join(f"process {pid} ({_name(pid)})" for pid in pids)


def _others(path: Path, locks: Path) -> Iterator[tuple[bool, int]]:
    """Yield whether it writes, and the id, of every other process with a lock. The kernel's lines look like this:

    `1: POSIX  ADVISORY  WRITE 3042 08:01:12345 120 120`, with the device and the inode of the file after the process.
    """
    files = {file for suffix in ("", "-wal", "-shm") if (file := _identity(path.with_name(path.name + suffix)))}
    try:
        rows = [line.split() for line in locks.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return
    for row in rows:
        if len(row) == 8 and row[5] in files and row[4].isdecimal() and int(row[4]) not in {0, os.getpid()}:
            yield row[3] == "WRITE", int(row[4])


def _identity(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return ""
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip() or _NO_NAME
    except OSError:
        return _NO_NAME
