"""Hearing of changes to the files a gateway was built from."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

__all__ = ["Snapshot", "snapshot", "watch"]

_SETTLE_MS: Final = 100
_IDLE_MS: Final = 5000

Snapshot = dict[Path, tuple[int, int, int]]
"""What can be told of files without reading them, by path: when each was written, how long it is, which one it is."""


def snapshot(paths: Collection[Path]) -> Snapshot:
    """Return how the files at and below `paths` are right now; what is not there is left out."""
    seen: Snapshot = {}
    for path in sorted({path.absolute() for path in paths}):
        for file in sorted(path.rglob("*")) if path.is_dir() else (path,):
            try:
                found = file.stat()
            except OSError:
                continue
            if not file.is_dir():
                seen[file] = found.st_mtime_ns, found.st_size, found.st_ino
    return seen


async def watch(
    paths: Collection[Path],
    stop: asyncio.Event,
    seen: Snapshot | None = None,
    settle_ms: int = _SETTLE_MS,
    idle_ms: int = _IDLE_MS,
) -> AsyncGenerator[frozenset[Path], None]:
    """Yield what changed, each time one of `paths` (files, or folders with all below) is written, moved or removed.

    Changes within `settle_ms` of each other come as one. `seen` is how the files were when they were last read, and is
    kept up to date: what has changed since comes first. What the system does not tell (of a folder that was not there
    yet, or of a disk that is shared) is found within `idle_ms`. Ends when `stop` is set. What was changed is not read
    here: whoever is told builds everything anew, and keeps what it had when that fails.

    Raises:
        OSError: the system does not let the files be watched.
    """
    wanted = frozenset(path.absolute() for path in paths)
    seen = await asyncio.to_thread(snapshot, wanted) if seen is None else seen
    changed = await _news(wanted, seen)
    if changed:
        yield changed
    folders = {path if path.is_dir() else path.parent for path in wanted}
    existing = sorted(folder for folder in folders if folder.is_dir())
    told = awatch(
        *existing,
        stop_event=stop,
        debounce=settle_ms * 4,
        step=settle_ms,
        watch_filter=None,
        rust_timeout=idle_ms,
        yield_on_timeout=True,
    )
    now = asyncio.get_running_loop().time
    looked = now()
    async with aclosing(told):
        async for changes in told:
            touched = frozenset(Path(name) for _, name in changes)
            mine = frozenset(path for path in touched if wanted & {path, *path.parents})
            if not mine and _are_writes(changes) and now() < looked + idle_ms / 1000:
                continue  # the ledger beside the configuration is written with every call
            looked = now()
            mine |= await _news(wanted, seen)
            if mine:
                yield mine


def _are_writes(changes: Collection[tuple[Change, str]]) -> bool:
    """Tell whether files were only written to: none was put in the place of another, or of a link's end."""
    return bool(changes) and all(change is Change.modified for change, _ in changes)


async def _news(wanted: Collection[Path], seen: Snapshot) -> frozenset[Path]:
    """Return which files are not as they were seen, and see them as they are."""
    fresh = await asyncio.to_thread(snapshot, wanted)
    changed = frozenset(path for path in seen.keys() | fresh.keys() if seen.get(path) != fresh.get(path))
    seen.clear()
    seen.update(fresh)
    return changed
