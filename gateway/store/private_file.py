"""Small files that only their owner may read: keys and encrypted secrets."""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

__all__ = ["MAX_BYTES", "PrivateFileError", "create_private", "read_private", "write_private"]

MAX_BYTES: Final = 1 << 20
_OTHERS: Final = 0o077


class PrivateFileError(Exception):
    """A file that should be private is not, or cannot be used. The text says which, why and what fixes it."""

    code = "private_file"


def read_private(path: Path) -> bytes | None:
    """Return what is in `path`, or None where there is no such file.

    Raises:
        PrivateFileError: others may read or write it, it is somebody else's, not a regular file, or over 1 MiB.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PrivateFileError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        _require_private(path, os.fstat(descriptor))  # of the open file, so that nobody can swap it in between
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PrivateFileError(f"{path}: is not a regular file")
    if status.st_uid not in {os.geteuid(), 0}:
        raise PrivateFileError(f"{path}: belongs to another user; fix: chown {os.geteuid()} {path}")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise PrivateFileError(
            f"{path}: other users may use it (mode {mode:04o}); fix: chmod 600 {path}, and replace the key or "
            "secrets in it if others could have read them"
        )
    if status.st_size > MAX_BYTES:
        raise PrivateFileError(f"{path}: is larger than {MAX_BYTES} bytes")


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, readable by the owner only; after a crash the old or the new file stands whole.

    Raises:
        PrivateFileError: it cannot be written.
    """
    try:
        draft = _draft(path, content)
        try:
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise PrivateFileError(f"{path}: cannot be written ({error.strerror})") from None


def create_private(path: Path, content: bytes) -> bytes:
    """Make `path` hold `content` unless it exists; return what it holds. Of two creators one wins, and both see it.

    Raises:
        PrivateFileError: it can neither be written nor read safely.
    """
    try:
        draft = _draft(path, content)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise PrivateFileError(f"{path}: cannot be written ({error.strerror})") from None
    return read_private(path) or b""


def _draft(path: Path, content: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with contextlib.ExitStack() as undo:
        undo.callback(draft.unlink)  # a full disk leaves no draft behind
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        undo.pop_all()
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
