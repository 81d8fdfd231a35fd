"""One write transaction: many transitions, one fsync, one thread hop."""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from gateway.model.errors import GatewayError
from gateway.store.chain import GENESIS, Head, broken, seal
from gateway.store.removable import Share
from gateway.store.sqlite.sharing import Shares

__all__ = ["Committer", "Told", "Transaction", "Transition", "read_head"]

Told = tuple[int, str, str, str, str, str, str]
"""`at_ms, kind, call_id, run_id, agent, on_behalf_of, tool` of an event to be."""

_UNKNOWN: Final[Head] = (0, GENESIS)
_HEAD: Final = "SELECT seq, hash FROM chain_head WHERE id = 1"
_COLUMNS: Final = "seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, prev_hash, hash, body, shared"
_WIDTH: Final = 12
_ROW: Final = f"({', '.join('?' * _WIDTH)})"
_AT_ONCE: Final = 8
# To open ten trees takes longer than to write a row into them, so many rows are one statement. Any error of it undoes
# the whole transaction: OR FAIL spares the copies of pages by which the statement alone would be undone.
_APPEND: Final = tuple(
    f"INSERT OR FAIL INTO events ({_COLUMNS}) VALUES {', '.join([_ROW] * rows)}"  # noqa: S608 - constant names
    for rows in range(_AT_ONCE + 1)
)
_MOVE_HEAD: Final = "UPDATE chain_head SET seq = ?, hash = ? WHERE id = 1 AND seq = ? AND hash = ?"
_DELIVER: Final = "UPDATE calls SET delivered = max(delivered, ?) WHERE call_id = ?"
_COUNT: Final = (
    "INSERT INTO run_steps (run_id, steps) VALUES (?, ?)"
    " ON CONFLICT (run_id) DO UPDATE SET steps = steps + excluded.steps"
)


class _Behind(Exception):
    """The chain does not end where it was left: another process has written meanwhile, or somebody took events out."""


class Transaction:
    """An open write transaction: the head of the chain as it is now, and the way to extend it.

    A `head` that is given is not asked for: that the chain still ends with it shows when events are written.
    """

    __slots__ = (
        "_appended",
        "_ends",
        "_is_sure",
        "_shares",
        "_steps",
        "_written",
        "cursor",
        "db",
        "hash",
        "seq",
    )

    def __init__(self, db: sqlite3.Connection, shares: Shares | None = None, head: Head | None = None) -> None:
        self.db = db
        self.cursor = db.cursor()  # for what answers nothing: making one for each statement takes longer than some do
        self._shares = Shares() if shares is None else shares
        self._appended: list[int | str | None] = []  # row after row
        self._ends: list[Share | None] = []  # what the body of each ends with
        self._is_sure = head is None
        self.seq, self.hash = self._written = read_head(db) if head is None else head
        self._steps: dict[str, int] = {}

    def append(self, told: Told, body: bytes, share: Share | None = None) -> int:
        """Append one event; return its seq. It is in the table after the next `write_events` or `settle`.

        Its body ends with the `share`, if any, in the place of the last brace.
        """
        seq = self.seq + 1
        sealed = seal(self.hash, (seq, *told), body, share)
        self._appended += (seq, *told, self.hash, sealed, body.decode(), None)
        self._ends.append(share)
        self.seq, self.hash = seq, sealed
        return seq

    def write_events(self) -> None:
        """Write the events appended so far, and the head with them, for a transition that reads the chain."""
        if self._appended:
            head = (self.seq, self.hash)
            if not self.cursor.execute(_MOVE_HEAD, (*head, *self._written)).rowcount:
                raise _Behind
            self._written, self._is_sure = head, True
            ids = self._shares.ids(self.db, self._ends)
            rows = self._appended
            rows[_WIDTH - 1 :: _WIDTH] = [ids[share] for share in self._ends]
            for start in range(0, len(rows), _AT_ONCE * _WIDTH):
                some = rows[start : start + _AT_ONCE * _WIDTH]
                self.cursor.execute(_APPEND[len(some) // _WIDTH], some)
            self._appended, self._ends = [], []

    def count_step(self, run_id: str) -> None:
        """Count one more call in a run."""
        self._steps[run_id] = self._steps.get(run_id, 0) + 1

    def deliver(self, marks: Sequence[tuple[int, str]]) -> None:
        """Note that answers reached their callers: the marks that say in which attempt at its run, and the calls."""
        self.cursor.executemany(_DELIVER, marks)

    def settle(self) -> None:
        """Write what the transitions of this transaction left to the end so far."""
        self.write_events()
        if not self._is_sure and read_head(self.db) != self._written:
            raise _Behind
        if self._steps:
            self.cursor.executemany(_COUNT, self._steps.items())
            self._steps.clear()


def read_head(db: sqlite3.Connection) -> Head:
    """Return where the chain ends. Raises `LedgerTampered` when nothing says so."""
    row: Head | None = db.execute(_HEAD).fetchone()
    if row is None:
        raise broken(1, "and all others are in doubt: the head of the chain is missing")
    return row


Transition = Callable[[Transaction], Any]
"""One transition. It raises a `GatewayError` only before it has written anything; then the others go on without it."""


class Committer:
    """Commits batches on one connection; it remembers how safely that writes right now, and which shares it used."""

    def __init__(self) -> None:
        self._shares = Shares()
        self._durable = True  # as a new connection is

    def commit(
        self, db: sqlite3.Connection, transitions: Sequence[Transition], known: Head, durable: bool
    ) -> tuple[list[Any], Head]:
        """Do every transition in one transaction; return their answers (a refused one's is its fault) and the new head.

        Any error of the database undoes all of them. With `durable` the log is on the disk before this returns.
        """
        self._write_durably(db, durable)
        if known != _UNKNOWN:
            try:
                return self._commit(db, transitions, partial(Transaction, db, self._shares, known))
            except _Behind:
                pass  # undone; what it found out may not be so
        return self._commit(db, transitions, partial(self._from_the_end, db, known))

    def _from_the_end(self, db: sqlite3.Connection, known: Head) -> Transaction:
        transaction = Transaction(db, self._shares)
        _check_head((transaction.seq, transaction.hash), known)
        return transaction

    @staticmethod
    def _commit(
        db: sqlite3.Connection, transitions: Sequence[Transition], begin: Callable[[], Transaction]
    ) -> tuple[list[Any], Head]:
        db.execute("BEGIN IMMEDIATE")
        try:
            transaction = begin()
            answers = [_attempt(transition, transaction) for transition in transitions]
            transaction.settle()
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return answers, (transaction.seq, transaction.hash)

    def _write_durably(self, db: sqlite3.Connection, durable: bool) -> None:
        if durable is not self._durable:
            # This pragma acts while it is compiled: a statement from the driver's cache would do nothing, a script is
            # compiled every time. In WAL mode NORMAL leaves the sync to the next FULL commit or checkpoint.
            db.executescript("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
            self._durable = durable


def _attempt(transition: Transition, transaction: Transaction) -> Any:
    try:
        return transition(transaction)
    except GatewayError as refusal:
        return refusal


def _check_head(head: Head, known: Head) -> None:
    """Refuse to build on a ledger that is older than what this process has already written or read."""
    if known == _UNKNOWN or head[0] > known[0] or head == known:
        return
    raise broken(min(head[0] + 1, known[0]), f"is gone: the ledger ends with {head[0]}, but {known[0]} were written")
