"""Hearing of an edit."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.config import Snapshot, snapshot, watch
from gateway.config.watching import pause_s


async def test_an_edit_that_replaces_the_file_is_heard_and_a_neighbour_is_not(tmp_path: Path) -> None:
    config, other = tmp_path / "gateway.yaml", tmp_path / "other.txt"
    stop, heard, neighbour = asyncio.Event(), asyncio.Queue[frozenset[Path]](), asyncio.Queue[frozenset[Path]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            _listen(watch([config, tmp_path / "missing/gateway.lock"], stop, settle_ms=10, pace_ms=20), heard)
        )
        group.create_task(_listen(watch([other], stop, settle_ms=10, pace_ms=20), neighbour))
        async with asyncio.timeout(10):
            assert await _edit_until_heard(other, neighbour) == {other}
            assert await _edit_until_heard(config, heard) == {config}
        stop.set()


async def test_anything_below_a_watched_folder_is_heard(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    stop, heard = asyncio.Event(), asyncio.Queue[frozenset[Path]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(_listen(watch([folder], stop, settle_ms=10, pace_ms=20), heard))
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
        group.create_task(_listen(watch([config, folder], stop, settle_ms=10, pace_ms=20), heard))
        async with asyncio.timeout(10):
            await _edit_until_heard(config, heard)
            folder.mkdir(parents=True)
            (folder / "one.cedar").write_text("// nothing")
            while folder / "one.cedar" not in await heard.get():
                pass
        stop.set()


async def test_an_edit_that_keeps_length_and_time_is_found(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("version: 1")
    before, seen = config.stat(), snapshot([config])
    config.write_text("version: 2")
    os.utime(config, ns=(before.st_atime_ns, before.st_mtime_ns))
    changes = watch([config], asyncio.Event(), seen)
    assert await anext(changes) == {config}
    await changes.aclose()


async def test_edits_on_the_heels_of_each_other_come_as_one(tmp_path: Path) -> None:
    """As when a whole folder is checked out: the rules of half of it are nobody's."""
    names = [tmp_path / f"{number}.cedar" for number in range(4)]
    seen: Snapshot = {tmp_path / "gone": (0, 0, 0, 0)}
    changes = watch([tmp_path], asyncio.Event(), seen)
    heard = asyncio.ensure_future(anext(changes))
    while seen:
        await asyncio.sleep(0)
    for path in names:
        path.write_text("// nothing")
    assert await heard == {tmp_path / "gone", *names}
    await changes.aclose()


async def test_a_file_that_never_rests_keeps_nothing_from_being_told(tmp_path: Path) -> None:
    busy, stop = tmp_path / "busy", asyncio.Event()
    changes = watch([tmp_path], stop, {busy: (0, 0, 0, 0)}, settle_ms=1)

    async def write() -> None:
        while not stop.is_set():
            await asyncio.to_thread(busy.write_text, "a")
            await asyncio.sleep(0)

    writing = asyncio.ensure_future(write())
    assert await anext(changes) == {busy}
    stop.set()
    await writing
    await changes.aclose()


def test_many_files_are_looked_at_more_rarely() -> None:
    assert [pause_s(took_s, 500) for took_s in (0.0, 0.05, 0.1, 60.0)] == [0.5, 0.5, 1.0, 5.0]


def test_a_snapshot_leaves_out_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert snapshot([tmp_path / "missing", tmp_path]) == {}


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
