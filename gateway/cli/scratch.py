"""Folders that are thrown away with the command that made them; of one that was killed, by the next."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["scratch_folder"]

_PREFIX: Final = "cassette-"


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """Make a folder in `place`, and remove it in the end; before that, those whose makers are gone.

    Each maker holds a lock on its folder, which the kernel lets go of however the process ends.
    """
    with _locked(place):  # nobody takes a folder for a dead one's that is not locked yet
        for left in place.glob(f"{_PREFIX}*"):
            _remove_if_left(left)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        held = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    held = _lock(place)
    try:
        yield
    finally:
        os.close(held)


def _lock(folder: Path, how: int = fcntl.LOCK_EX) -> int:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, how)
    except OSError:
        os.close(held)
        raise
    return held


def _remove_if_left(folder: Path) -> None:
    try:
        held = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody is at it; or no folder, and so none of ours
        return
    shutil.rmtree(folder, ignore_errors=True)
    os.close(held)
