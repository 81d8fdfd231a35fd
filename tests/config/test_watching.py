"""Hearing of an edit."""

import asyncio
from pathlib import Path

from gateway.config import watch


async def test_an_edit_that_replaces_the_file_is_heard_and_a_neighbour_is_not(tmp_path: Path) -> None:
    config, other = tmp_path / "gateway.yaml", tmp_path / "other.txt"
    config.write_text("version: 1\n")
    stop, heard = asyncio.Event(), asyncio.Queue[frozenset[Path]]()

    async def listen() -> None:
        async for changed in watch([config, tmp_path / "missing/gateway.lock"], stop, settle_ms=10):
            heard.put_nowait(changed)

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        async with asyncio.timeout(10):
            changed = await _edit_until_heard(config, other, heard)
        stop.set()
    assert changed == {config}


async def test_anything_below_a_watched_folder_is_heard(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    stop, heard = asyncio.Event(), asyncio.Queue[frozenset[Path]]()

    async def listen() -> None:
        async for changed in watch([folder], stop, settle_ms=10):
            heard.put_nowait(changed)

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        async with asyncio.timeout(10):
            changed = await _edit_until_heard(folder / "deep.cedar", tmp_path / "other.txt", heard)
        stop.set()
    assert changed == {folder / "deep.cedar"}


async def _edit_until_heard(path: Path, other: Path, heard: asyncio.Queue[frozenset[Path]]) -> frozenset[Path]:
    """The watch takes a moment to be in place: an edit before it is nobody's to hear."""
    while heard.empty():
        other.write_text("x")
        draft = path.with_name("draft~")
        draft.write_text("version: 1\n")
        draft.replace(path)
        await asyncio.sleep(0.02)
    return frozenset(name for name in heard.get_nowait() if name.name != "draft~")
