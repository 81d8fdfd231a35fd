"""Hearing of changes to the files a gateway was built from."""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Final

from watchfiles import awatch

__all__ = ["watch"]

_SETTLE_MS: Final = 100


async def watch(
    paths: Collection[Path], stop: asyncio.Event, settle_ms: int = _SETTLE_MS
) -> AsyncIterator[frozenset[Path]]:
    """Yield what changed, each time one of `paths` (files, or folders with all below) is written, moved or removed.

    Changes within `settle_ms` of each other come as one. Ends when `stop` is set. What was changed is not read here:
    whoever is told builds everything anew, and keeps what it had when that fails.
    """
    wanted = frozenset(path.absolute() for path in paths)
    folders = {path if path.is_dir() else path.parent for path in wanted}
    existing = sorted(folder for folder in folders if folder.is_dir())
    async for changes in awatch(*existing, stop_event=stop, debounce=settle_ms * 4, step=settle_ms, watch_filter=None):
        touched = frozenset(Path(name) for _, name in changes)
        mine = frozenset(path for path in touched if wanted & {path, *path.parents})
        if mine:
            yield mine
