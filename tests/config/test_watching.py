"""Hearing of an edit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.config import watch


async def test_an_edit_that_replaces_the_file_is_heard_and_a_neighbour_is_not(tmp_path: Path) -> None:
    config, other = tmp_path / "gateway.yaml", tmp_path / "other.txt"
    stop, heard, neighbour = asyncio.Event(), asyncio.Queue[frozenset[Path]](), asyncio.Queue[frozenset[Path]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(_listen(watch([config, tmp_path / "missing/gateway.lock"], stop, settle_ms=10), heard))
        group.create_task(_listen(watch([other], stop, settle_ms=10), neighbour))
        async with asyncio.timeout(10):
            assert await _edit_until_heard(other, neighbour) == {other}
            assert await _edit_until_heard(config, heard) == {config}
        stop.set()


async def test_anything_below_a_watched_folder_is_heard(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    stop, heard = asyncio.Event(), asyncio.Queue[frozenset[Path]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(_listen(watch([folder], stop, settle_ms=10), heard))
        async with asyncio.timeout(10):
            assert await _edit_until_heard(folder / "deep.cedar", heard) == {folder / "deep.cedar"}
        stop.set()


async def _listen(changes: AsyncIterator[frozenset[Path]], heard: asyncio.Queue[frozenset[Path]]) -> None:
    async for changed in changes:
        heard.put_nowait(changed)


async def _edit_until_heard(path: Path, heard: asyncio.Queue[frozenset[Path]]) -> frozenset[Path]:
    """The watch takes a moment to be in place: an edit before it is nobody's to hear."""
    while heard.empty():
        draft = path.with_name("draft~")
        draft.write_text("version: 1\n")
        draft.replace(path)
        await asyncio.sleep(0.05)
    return frozenset(name for name in heard.get_nowait() if name.name != "draft~")
