"""The one place that speaks to the database driver: a connection that is opened when needed and again after a fault."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple
from urllib.parse import quote

import aiosqlite

from gateway.model.errors import GatewayError, StoreFault
from gateway.store.sqlite.holder import holders_of
from gateway.store.sqlite.patience import AFTERWARDS_S, LOCK_PATIENCE_S, be_patient, hurry, is_busy, take_time

__all__ = ["Connection"]

_STATEMENTS: Final = 512
# After these the connection is as good as before; after any other error it is opened anew.
_HARMLESS: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_INTERRUPT,
    }
)

_MOST_HURRIED: Final = 64
"""Transactions in a row that are done at once: meanwhile the log grows without being brought into the database."""
_LOOK_S: Final = 1.0
"""How often it is looked meanwhile whether the file is still there: what comes rarely would be told into nothing."""
_SLOW_S: Final = 0.05
_SPARED_S: Final = 10.0
"""How long nothing is done at once after one that was slow."""

_Args = TypeVarTuple("_Args")
_T = TypeVar("_T")

_CANNOT: Final = "The ledger cannot be read or written right now; nothing was done."

_File = tuple[int, int]
"""A file by its device and inode: what is at a path may be another by now."""

Tell = Callable[[Any, BaseException | None], None]
"""Takes an answer, or the error in its place."""


class _Reply:
    """What the driver takes for a future: it tells what became of a question in its own turn of the event loop."""

    __slots__ = ("_loop", "_tell", "set_exception")

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Tell, fail: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._tell = tell
        self.set_exception = fail

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def done(self) -> bool:
        return False

    def set_result(self, answer: object) -> None:
        self._tell(answer, None)


class Connection:
    """A connection to one file, with its own thread; `prepare` runs on every new one.

    With `create` the first connection makes a missing file. A file that vanished later, or that another took the place
    of, is a fault until it is back: neither an empty ledger, nor one to go on with that nobody will find.
    A file that another process has locked is waited for `patience_s`, once: while it stays locked, the next statements
    fail soon. Only its own thread waits, and only that brings the log into the database, or syncs anything.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[sqlite3.Connection], None],
        *,
        create: bool = False,
        patience_s: float = LOCK_PATIENCE_S,
    ) -> None:
        self._path = path
        self._prepare = prepare
        self._create = create
        self._patience_s = patience_s
        self._locked = False
        self._in_use = threading.Lock()
        self._file: _File | None = None
        self._hurried = 0  # transactions done at once since the thread had something to do
        self._brought_ns = 0
        self._looked = 0.0
        self._slow_s = _SLOW_S
        self._spared_until = 0.0
        self._link: aiosqlite.Connection | None = None
        self._connecting = asyncio.Lock()
        self._followed: asyncio.Task[object] | None = None

    async def run(self, work: Callable[[sqlite3.Connection, *_Args], _T], *args: *_Args) -> _T:
        """Run `work` with the raw connection in the connection's thread, in one hop, and return its answer.

        Raises:
            StoreFault: the database could not do it; the next call connects anew where that may help.
            GatewayError: `prepare` or `work` refuses.
        """
        link = self._link or await self._connect()
        try:
            # Semi-private, and the reason for this module: the public methods cost one thread hop per statement, a
            # transaction has ten.
            answer: _T = await link._execute(self._attempt, link._conn, work, *args)  # type: ignore[no-untyped-call]  # as above
        except sqlite3.Error as error:
            await self._fail(link, error)
        return answer

    def post(self, tell: Tell, work: Callable[[sqlite3.Connection, *_Args], object], *args: *_Args) -> None:
        """Have `work` done as `run` does, and the event loop `tell` the answer, or what `run` would raise.

        That takes less: neither a task that waits for the answer nor the turns of the loop until it has it.
        """
        loop, link = asyncio.get_running_loop(), self._link
        if link is None:
            self._follow(tell, self.run(work, *args))
        else:
            reply = _Reply(loop, tell, partial(self._failed, tell, link))
            link._tx.put_nowait((reply, partial(self._attempt, link._conn, work, *args)))  # type: ignore[arg-type]  # quacks

    def at_once(self, work: Callable[[sqlite3.Connection, *_Args], _T], *args: *_Args) -> _T | None:
        """Do a short transaction here and now, which takes less than to hand it to the thread; return its answer.

        None says that it was not done: a lock or a fault was in the way, or it may take long. That is for the thread.
        """
        began, link = time.monotonic(), self._link
        if link is None or self._locked or self._hurried >= _MOST_HURRIED or began < self._spared_until:
            return None
        if not (self._hurried and began - self._looked < _LOOK_S):
            self._looked = began
            if not self._goes_on_with_log():
                return None
        if not self._in_use.acquire(blocking=False):
            return None
        try:
            self._hurried += 1
            if self._hurried == 1:
                hurry(link._conn)
            return work(link._conn, *args)
        except (sqlite3.Error, GatewayError, UnicodeDecodeError):  # undone: the thread meets it again, and knows it
            return None
        finally:
            self._in_use.release()
            ended = time.monotonic()
            if ended - began > self._slow_s:
                self._spared_until = ended + _SPARED_S

    def _goes_on_with_log(self) -> bool:
        """Tell whether the log was not brought into the database: else the next may begin it anew, and sync that."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        before, self._brought_ns = self._brought_ns, found.st_mtime_ns
        return found.st_mtime_ns == before and (found.st_dev, found.st_ino) == self._file

    def _failed(self, tell: Tell, link: aiosqlite.Connection, error: BaseException) -> None:
        if not isinstance(error, sqlite3.Error):
            tell(None, error)
        elif _is_harmless(error):
            tell(None, _fault(error))
        else:
            self._follow(tell, self._fail(link, error))

    async def _fail(self, link: aiosqlite.Connection, error: sqlite3.Error) -> None:
        if not _is_harmless(error):
            await self._drop(link)
        raise _fault(error) from error

    def _follow(self, tell: Tell, doing: Coroutine[Any, Any, object]) -> None:
        self._followed = asyncio.get_running_loop().create_task(doing)
        self._followed.add_done_callback(partial(_pass_on, tell))

    async def close(self) -> None:
        """Disconnect; the next `run` would connect again."""
        if self._link is not None:
            await self._drop(self._link)
        self._file = None

    async def _connect(self) -> aiosqlite.Connection:
        async with self._connecting:
            if self._link is None:
                link = aiosqlite.Connection(self._open, iter_chunk_size=1)
                link._thread.daemon = True  # a store left open must not keep a dying process alive
                try:
                    self._link = await link
                except (sqlite3.Error, OSError, GatewayError) as error:
                    await asyncio.to_thread(link._thread.join)  # the driver does not wait for it, and it speaks to us
                    raise error if isinstance(error, GatewayError) else _fault(error) from error
                self._create = False
            return self._link

    def _attempt(self, db: sqlite3.Connection, work: Callable[[sqlite3.Connection, *_Args], _T], *args: *_Args) -> _T:
        with self._in_use:
            self._look()
            try:
                if self._hurried:
                    self._hurried = 0
                    take_time(db, self._patience_s)
                answer = work(db, *args)
            except sqlite3.Error as error:
                self._find(error, db)
                raise
            except (
                UnicodeDecodeError
            ) as error:  # the driver's own words for what is wrong, with bytes of the file in them
                raise sqlite3.DatabaseError(f"the file is damaged: {error.object!r}") from error
            if self._locked:
                self._locked = False
                be_patient(db, self._patience_s)
            return answer

    def _look(self) -> None:
        """Return where the path leads to the file that was opened, if one was."""
        if self._file is not None and _file_at(self._path) != self._file:
            gone = f"{self._path} is not the file that was opened: it was moved, deleted or replaced. Put that back"
            raise StoreFault(_CANNOT, detail=f"{gone}, or restart the gateway with this one.", retry_after_s=1.0)

    def _find(self, error: sqlite3.Error, db: sqlite3.Connection) -> None:
        """Take note where a lock of others was in the way."""
        if is_busy(error):
            error.add_note(holders_of(self._path))
            self._locked = True
            be_patient(db, min(AFTERWARDS_S, self._patience_s))

    def _open(self) -> sqlite3.Connection:
        if self._create:  # the driver would make the file with the process's umask
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        link = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw",
            uri=True,
            timeout=self._patience_s,
            isolation_level=None,
            cached_statements=_STATEMENTS,
            check_same_thread=False,  # but by one at a time
        )
        try:
            self._attempt(link, self._prepare)
        except BaseException:
            link.close()
            raise
        self._file = self._file or _file_at(self._path)
        return link

    async def _drop(self, link: aiosqlite.Connection) -> None:
        if self._link is link:
            self._link = None
            await link.close()


def _file_at(path: Path) -> _File | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _pass_on(tell: Tell, done: asyncio.Task[object]) -> None:
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    tell(None if error is not None else done.result(), error)


def _is_harmless(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _HARMLESS


def _fault(error: Exception) -> StoreFault:
    notes: list[str] = getattr(error, "__notes__", [])
    return StoreFault(
        _CANNOT,
        detail="; ".join((f"{getattr(error, 'sqlite_errorname', type(error).__name__)}: {error}", *notes)),
        retry_after_s=1.0,
    )
