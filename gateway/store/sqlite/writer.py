"""The one writer: transitions queue, and all that wait go into the next transaction together."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from gateway.model.errors import GatewayError, StoreFault
from gateway.model.light import light, maker
from gateway.store.chain import GENESIS, Head
from gateway.store.sqlite.connection import Connection
from gateway.store.sqlite.delivering import Delivering
from gateway.store.sqlite.summing import Sums
from gateway.store.sqlite.transaction import Committer, Transition

__all__ = ["Writer"]

_MOST_LAZY: Final = 10_000
_RETRY_S: Final = 1.0
_LINGER_S: Final = 0.05
_ENOUGH: Final = 16
_TURNS: Final = 6


@light
@dataclass(frozen=True, slots=True)
class _Waiting:
    """A queued transition; `answer` is None for a lazy one."""

    transition: Transition
    answer: asyncio.Future[Any] | None = None
    revocable: bool = False
    synced: bool = False


_waiting: Final = maker(_Waiting)


class Writer:
    """Commits transitions in the order in which they were queued, as many at a time as are waiting, or come in at once.

    While the queue grows from one turn of the event loop to the next, a batch waits for it; after a batch of several it
    waits a few turns more, for a transaction costs as much as four of its calls. A lone call waits for nobody.

    What nobody waits for and could not be written is tried again with the next transition, and every `retry_s` seconds.
    What is noted of deliveries goes with the next transition, before it.
    """

    def __init__(self, connection: Connection, delivering: Delivering, sums: Sums, retry_s: float = _RETRY_S) -> None:
        self._connection = connection
        self._delivering = delivering
        self._retry_s = retry_s
        self._committer = Committer(sums)
        self._known: Head = (0, GENESIS)
        self._queue: list[_Waiting] = []
        self._busy = False
        self._patience = 1  # how many turns of the event loop in which nothing comes in end a batch
        self._stuck: GatewayError | None = None
        self.trouble = ""
        """Why the last attempt to write anything failed; nothing where it did not."""
        self._again: asyncio.TimerHandle | None = None

    def write(self, transition: Transition, *, revocable: bool = False, synced: bool = True) -> asyncio.Future[Any]:
        """Give the transition's answer once it is on the disk; one that is not `synced` once it is committed.

        What is committed outlives the process; only what is synced outlives the machine. A `revocable` one is dropped
        when its caller is cancelled before its transaction began.

        Raises:
            StoreFault: it was not written. Whatever else the transition raises.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._enqueue(_waiting(transition, answer, revocable=revocable, synced=synced))
        return answer

    def write_brief(self, transition: Transition) -> asyncio.Future[Any]:
        """As `write` what is short and need not be synced: here and now while such come one by one."""
        if self._busy or self._queue or self._patience > 1:
            return self.write(transition, synced=False)
        delivered = self._delivering.to_write()
        group = (self._delivering.marks(delivered) if delivered else (), (transition,))
        written = self._connection.at_once(self._committer.commit, group, self._known, False)
        if written is None:
            return self.write(transition, synced=False)
        (said,), self._known = written
        self.trouble = ""
        if delivered:
            self._stuck = None
            self._delivering.written(delivered)
        self._start(unasked=False)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        _tell(answer, said)
        return answer

    def write_lazily(self, transition: Transition) -> asyncio.Future[Any]:
        """Queue a transition, which is written before anything queued later; there is nothing more to await.

        While the last attempt to write lazily failed, or too much is queued, it waits like `write`.

        Raises:
            StoreFault: it could not be written, neither now nor lazily before.
        """
        if self._stuck is not None or len(self._queue) >= _MOST_LAZY:
            return self.write(transition)
        self._enqueue(_waiting(transition))
        queued: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        queued.set_result(None)
        return queued

    def write_later(self, transition: Transition) -> None:
        """Queue a transition that could not be written just now. Raises `StoreFault` when too many wait."""
        if len(self._queue) >= _MOST_LAZY:
            raise StoreFault("The ledger cannot be written.", detail=f"{_MOST_LAZY} records wait already")
        self._enqueue(_waiting(transition))

    def linger(self) -> None:
        """Write deliveries that are noted soon, should no transition come that they can go with."""
        if not self._busy and self._again is None:
            self._again = asyncio.get_running_loop().call_later(_LINGER_S, self._retry)

    async def flush(self) -> None:
        """Wait until everything queued so far is written. Raises `StoreFault` when it cannot be."""
        if self._queue or self._delivering or self._busy:
            await self.write(_nothing)

    def rest(self) -> None:
        """Try nothing again until something is queued anew."""
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _enqueue(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        if not self._busy:
            self._start(unasked=False)

    def _start(self, *, unasked: bool) -> None:
        asyncio.get_running_loop().call_soon(self._write_next, unasked, len(self._queue), 0)
        self._busy = True  # what else is queued in this turn of the event loop, or soon after, goes along

    def _retry(self) -> None:
        self._again = None
        if not self._busy and (self._queue or self._delivering):
            self._start(unasked=True)

    def _write_next(self, unasked: bool, queued_before: int, idle: int) -> None:
        """Begin to write what is queued, once enough turns were `idle`: brought nothing; with nothing to do, rest."""
        queued = len(self._queue)
        idle += queued <= queued_before  # in all: a batch waits for so many turns more, at most, than it has members
        if self._stuck is None and 0 < queued < _ENOUGH and idle < self._patience:  # with more, each takes less
            asyncio.get_running_loop().call_soon(self._write_next, unasked, queued, idle)
            return
        if not (self._queue or self._delivering) if unasked else (not self._queue or self._is_stuck_unasked()):
            self._busy = False
            if self._again is None and (self._queue or self._delivering):
                wait_s = self._retry_s if self._stuck is not None else _LINGER_S
                self._again = asyncio.get_running_loop().call_later(wait_s, self._retry)
            return
        waited, self._queue = self._queue, []
        batch = [waiting for waiting in waited if not (waiting.revocable and _is_abandoned(waiting))]
        self._patience = _TURNS if len(batch) > 1 else 1  # where many call, the next is about to come
        delivered = self._delivering.to_write()
        group = (self._delivering.marks(delivered), [waiting.transition for waiting in batch])
        synced = any(waiting.synced for waiting in batch)
        tell = partial(self._written, batch, delivered)
        self._connection.post(tell, self._committer.commit, group, self._known, synced)

    def _is_stuck_unasked(self) -> bool:
        """Tell whether the last attempt failed and nobody waits for the next: then a caller makes it, or the timer."""
        return self._stuck is not None and all(waiting.answer is None for waiting in self._queue)

    def _written(
        self, batch: list[_Waiting], delivered: Mapping[str, int], written: Any, error: BaseException | None
    ) -> None:
        """Take note of what became of a batch, tell those that wait, and go on."""
        self._start(unasked=False)
        if error is None:
            answers, self._known = written
            self._stuck, self.trouble = None, ""
            self._delivering.written(delivered)
            for waiting, answer in zip(batch, answers, strict=True):
                _tell(waiting.answer, answer)
        elif isinstance(error, GatewayError):
            self.trouble = error.detail or error.message
            self._stuck = error if delivered else self._stuck
            self._fail(batch, error)
        else:
            behind, self._queue = self._queue, []
            self._fail([*batch, *behind], StoreFault("The ledger cannot be written.", detail="the writer stopped"))
            raise error

    def _fail(self, batch: list[_Waiting], fault: GatewayError) -> None:
        lazy = [waiting for waiting in batch if waiting.answer is None]
        if lazy:  # their callers went on already: they stay at the head of the queue
            self._queue[:0] = lazy
            self._stuck = fault
        for waiting in batch:
            _tell(waiting.answer, fault)


def _nothing(transaction: object) -> None:
    del transaction


def _is_abandoned(waiting: _Waiting) -> bool:
    return waiting.answer is not None and waiting.answer.cancelled()


def _tell(waiting: asyncio.Future[Any] | None, answer: Any) -> None:
    if waiting is None or waiting.done():
        return
    if isinstance(answer, GatewayError):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
