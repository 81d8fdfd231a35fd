"""Hearing of changes to the files a gateway was built from."""

import asyncio
import os
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["Snapshot", "pause_s", "snapshot", "watch"]

_SETTLE_MS: Final = 100
_PACE_MS: Final = 500
_MOST_LOOKS: Final = 4
_SHARE: Final = 10
_LONGEST_S: Final = 5.0

Snapshot = dict[Path, tuple[int, int, int, int]]
"""What can be told of files without reading them, by path: when each was written and changed, its length, its inode."""


def snapshot(paths: Collection[Path]) -> Snapshot:
    """Return how the files at and below `paths` are right now; what is not there is left out."""
    seen: Snapshot = {}
    for path in {path.absolute() for path in paths}:
        for name in _files(path):
            with suppress(OSError):
                found = os.stat(name)
                seen[Path(name)] = found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
    return seen


def _files(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
    for folder, _, names in os.walk(path):
        yield from (os.path.join(folder, name) for name in names)


async def watch(
    paths: Collection[Path],
    stop: asyncio.Event,
    seen: Snapshot | None = None,
    settle_ms: int = _SETTLE_MS,
    pace_ms: int = _PACE_MS,
) -> AsyncGenerator[frozenset[Path], None]:
    """Yield what changed, each time one of `paths` (files, or folders with all below) is written, moved or removed.

    They are looked at every `pace_ms`, more rarely where they are many: that costs less than being told by the system,
    with every call, of the ledger beside them, and finds what changes on a shared disk too. Changes within `settle_ms`
    of each other come as one. `seen` is how the files were when they were last read, and is kept up to date: what has
    changed since comes first. Ends when `stop` is set. What was changed is not read here: whoever is told builds
    everything anew, and keeps what it had when that fails.
    """
    seen = await asyncio.to_thread(snapshot, paths) if seen is None else seen
    now = asyncio.get_running_loop().time
    while not stop.is_set():
        began = now()
        changed = await _news(paths, seen)
        pause = pause_s(now() - began, pace_ms)
        if changed:
            yield changed | await _more(paths, seen, settle_ms)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stop.wait()


def pause_s(took_s: float, pace_ms: int) -> float:
    """Return how many seconds pass until the next look, after one that took so long: a tenth of the time, or 5 s."""
    return max(pace_ms / 1000, min(took_s * _SHARE, _LONGEST_S))


async def _more(paths: Collection[Path], seen: Snapshot, settle_ms: int) -> frozenset[Path]:
    """Return what changes on until nothing does for a while, within bounds."""
    changed: frozenset[Path] = frozenset()
    for _ in range(_MOST_LOOKS):
        await asyncio.sleep(settle_ms / 1000)
        more = await _news(paths, seen)
        if not more:
            break
        changed |= more
    return changed


async def _news(paths: Collection[Path], seen: Snapshot) -> frozenset[Path]:
    """Return which files are not as they were seen, and see them as they are."""
    fresh = await asyncio.to_thread(snapshot, paths)
    changed = frozenset(path for path in seen.keys() | fresh.keys() if seen.get(path) != fresh.get(path))
    seen.clear()
    seen.update(fresh)
    return changed
