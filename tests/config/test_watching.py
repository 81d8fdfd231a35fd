"""Hearing of an edit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.config import snapshot, watch


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


async def test_what_changed_since_the_files_were_read_comes_first(tmp_path: Path) -> None:
    gone, kept, made = (tmp_path / name for name in ("gone", "kept", "made"))
    for path in (gone, kept):
        path.write_text("1")
    seen = snapshot([tmp_path])
    gone.unlink()
    made.write_text("1")
    changes = watch([tmp_path], asyncio.Event(), seen)
    assert await anext(changes) == {gone, made}
    assert seen == snapshot([tmp_path])
    await changes.aclose()


async def test_a_folder_that_is_made_later_is_found_too(tmp_path: Path) -> None:
    config, folder = tmp_path / "here" / "gateway.yaml", tmp_path / "elsewhere" / "policies"
    config.parent.mkdir()
    stop, heard = asyncio.Event(), asyncio.Queue[frozenset[Path]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(_listen(watch([config, folder], stop, settle_ms=10, idle_ms=20), heard))
        async with asyncio.timeout(10):
            await _edit_until_heard(config, heard)
            folder.mkdir(parents=True)
            (folder / "one.cedar").write_text("// nothing")
            while folder / "one.cedar" not in await heard.get():
                pass
        stop.set()


async def test_writes_to_a_neighbour_cause_no_look_at_all_files(tmp_path: Path) -> None:
    config, ledger = tmp_path / "here" / "gateway.yaml", tmp_path / "here" / "gateway.db"
    flag = config.with_name("gateway.lock")
    folder = tmp_path / "elsewhere" / "policies"  # of which the system tells nothing: only a look finds it
    config.parent.mkdir()
    ledger.touch()
    stop, heard, neighbour = asyncio.Event(), asyncio.Queue[frozenset[Path]](), asyncio.Queue[frozenset[Path]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(_listen(watch([config, flag, folder], stop, settle_ms=10, idle_ms=60_000), heard))
        group.create_task(_listen(watch([ledger], stop, settle_ms=10), neighbour))
        async with asyncio.timeout(10):
            await _edit_until_heard(config, heard)
            flag.touch()
            while flag not in await heard.get():
                pass
            folder.mkdir(parents=True)
            (folder / "one.cedar").write_text("// nothing")
            for _ in range(5):
                await _write_until_heard(ledger, neighbour)
            config.write_text("version: 1\n")
            assert await heard.get() >= {config, folder / "one.cedar"}
        stop.set()


def test_a_snapshot_leaves_out_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert snapshot([tmp_path / "missing", tmp_path]) == {}


async def _listen(changes: AsyncIterator[frozenset[Path]], heard: asyncio.Queue[frozenset[Path]]) -> None:
    async for changed in changes:
        heard.put_nowait(changed)


async def _write_until_heard(path: Path, heard: asyncio.Queue[frozenset[Path]]) -> None:
    while heard.empty():
        with path.open("a") as file:
            file.write("a call")
        await asyncio.sleep(0.02)
    heard.get_nowait()


async def _edit_until_heard(path: Path, heard: asyncio.Queue[frozenset[Path]]) -> frozenset[Path]:
    """The watch takes a moment to be in place: an edit before it is nobody's to hear."""
    while heard.empty():
        draft = path.with_name("draft~")
        draft.write_text("version: 1\n")
        draft.replace(path)
        await asyncio.sleep(0.05)
    return frozenset(name for name in heard.get_nowait() if name.name != "draft~")
