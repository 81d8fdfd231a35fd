"""One write transaction: many transitions, one fsync, one thread hop."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from gateway.model.errors import GatewayError
from gateway.store.chain import GENESIS, Head, broken, chained, content_of
from gateway.store.removable import Share
from gateway.store.sqlite.sharing import Shares
from gateway.store.sqlite.summing import Changes, Sums

__all__ = ["Committer", "Group", "Told", "Transaction", "Transition", "read_head"]

_Value = int | str | None
Told = tuple[int, str, str, str, str, str, str]
"""`at_ms, kind, call_id, run_id, agent, on_behalf_of, tool` of an event to be."""

_UNKNOWN: Final[Head] = (0, GENESIS)
_HEAD: Final = "SELECT seq, hash FROM chain_head WHERE id = 1"
_COLUMNS: Final = "seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, prev_hash, hash, body, shared"
_WIDTH: Final = 11  # what is given of an event; the hash before it is that of the row above, for the first one ?1
_HASH: Final = 8
_AT_ONCE: Final = 8


def _row(number: int) -> str:
    first = 2 + number * _WIDTH
    given = [f"?{each}" for each in range(first, first + _WIDTH)]
    before = f"?{first + _HASH - _WIDTH}" if number else "?1"
    return f"({', '.join((*given[:_HASH], before, *given[_HASH:]))})"


# To open ten trees takes longer than to write a row into them, so many rows are one statement. Any error of it undoes
# the whole transaction: OR FAIL spares the copies of pages by which the statement alone would be undone.
_APPEND: Final = tuple(
    f"INSERT OR FAIL INTO events ({_COLUMNS}) VALUES {', '.join(map(_row, range(rows)))}"  # noqa: S608 - constant names
    for rows in range(_AT_ONCE + 1)
)
_CLAIM_COLUMNS: Final = (
    "claim_seq, call_id, run_id, session, agent, on_behalf_of, tool, arguments_digest, step_key, started_ms"
)
_CLAIM_WIDTH: Final = 10
_CLAIM_ROW: Final = f"({', '.join('?' * _CLAIM_WIDTH)}, 'executing')"
_CLAIM: Final = tuple(
    f"INSERT OR FAIL INTO calls ({_CLAIM_COLUMNS}, status) VALUES {', '.join([_CLAIM_ROW] * rows)}"  # noqa: S608 - constant names
    for rows in range(_AT_ONCE + 1)
)
_END: Final = (
    "UPDATE calls SET status = ?, ended_ms = ?, end_seq = ? WHERE claim_seq = ? AND call_id = ? AND end_seq IS NULL"
)
_MOVE_HEAD: Final = "UPDATE chain_head SET seq = ?, hash = ? WHERE id = 1 AND seq = ? AND hash = ?"
_SUMMED: Final = "(SELECT CAST(kept AS INTEGER) FROM sums WHERE name = 'calls')"  # the number that `kept` begins with
_DELIVER: Final = f"UPDATE calls SET delivered = ? WHERE call_id = ? AND delivered = 0 AND claim_seq > {_SUMMED}"  # noqa: S608 - constant names
_WAS: Final = f"SELECT delivered, claim_seq <= {_SUMMED} FROM calls WHERE call_id = ?"  # noqa: S608 - constant names
_DELIVER_LATE: Final = "UPDATE calls SET delivered = ? WHERE call_id = ?"
_COUNT: Final = (
    "INSERT INTO run_steps (run_id, steps) VALUES (?, ?)"
    " ON CONFLICT (run_id) DO UPDATE SET steps = steps + excluded.steps"
)


class _Presumed(Exception):
    """It is not as was presumed.

    The chain does not end where it was left: another process has written meanwhile, or somebody took events out. Or a
    call that was to be claimed stands already, or one that was to end has ended.
    """


class Transaction:
    """An open write transaction: the head of the chain as it is now, and the way to extend it.

    A `head` that is given is not asked for: that the chain still ends with it shows when events are written. With one
    it `presumes`: claims and endings may be left to that moment too, when it shows whether they could be written.
    """

    __slots__ = (
        "_appended",
        "_claims",
        "_endings",
        "_ends",
        "_is_sure",
        "_shares",
        "_steps",
        "_summed",
        "_sums",
        "_written",
        "cursor",
        "db",
        "hash",
        "presumes",
        "seq",
    )

    def __init__(
        self, db: sqlite3.Connection, sums: Sums, shares: Shares | None = None, head: Head | None = None
    ) -> None:
        self.db = db
        self._sums = sums
        self._summed: Changes = {}
        self.cursor = db.cursor()  # for what answers nothing: making one for each statement takes longer than some do
        self._shares = Shares() if shares is None else shares
        self._appended: list[_Value] = []  # row after row
        self._ends: list[Share | None] = []  # what the body of each ends with
        self._claims: list[_Value] = []  # row after row
        self._endings: list[tuple[int | str, ...]] = []
        self.presumes = head is not None
        self._is_sure = head is None
        self.seq, self.hash = self._written = read_head(db) if head is None else head
        self._steps: dict[str, int] = {}

    def append(self, told: Told, body: bytes, share: Share | None = None) -> int:
        """Append one event; return its seq. It is in the table after the next `write_events` or `settle`.

        Its body ends with the `share`, if any, in the place of the last brace.
        """
        header = (self.seq + 1, *told)
        self.seq, self.hash = header[0], chained(self.hash, content_of(header, body, share))
        self._appended += (*header, self.hash, body.decode(), None)
        self._ends.append(share)
        return header[0]

    def claim(self, row: tuple[int | str | None, ...]) -> None:
        """Write the row of a claimed call: `claim_seq` to `started_ms`, in the order of the table.

        While it `presumes`, together with others.

        Raises:
            sqlite3.IntegrityError: the call, or its step, stands already. Nothing was written.
        """
        if self.presumes:
            self._claims += row
        else:
            self.cursor.execute(_CLAIM[1], row)

    def end(self, status: str, at_ms: int, claim_seq: int, call_id: str) -> None:
        """Note that the event to be appended next ends a claimed call; it is written together with others."""
        self._endings.append((status, at_ms, self.seq + 1, claim_seq, call_id))

    def _write_calls(self) -> None:
        try:
            for some in _some(self._claims, _CLAIM_WIDTH):
                self.cursor.execute(_CLAIM[len(some) // _CLAIM_WIDTH], some)
        except sqlite3.IntegrityError:
            raise _Presumed from None
        if self._endings and self.cursor.executemany(_END, self._endings).rowcount != len(self._endings):
            raise _Presumed
        self._claims, self._endings = [], []

    def write_events(self) -> None:
        """Write the events appended so far, with the head and the rows of calls, for a transition that reads them."""
        if self._claims or self._endings:
            self._write_calls()
        if self._appended:
            head = (self.seq, self.hash)
            before: _Value = self._written[1]
            if not self.cursor.execute(_MOVE_HEAD, (*head, *self._written)).rowcount:
                raise _Presumed
            self._written, self._is_sure = head, True
            ids = self._shares.ids(self.db, self._ends)
            self._appended[_WIDTH - 1 :: _WIDTH] = [ids[share] for share in self._ends]
            for some in _some(self._appended, _WIDTH):
                self.cursor.execute(_APPEND[len(some) // _WIDTH], [before, *some])
                before = some[_HASH - _WIDTH]
            self._appended, self._ends = [], []

    def count_step(self, run_id: str) -> None:
        """Count one more call in a run."""
        self._steps[run_id] = self._steps.get(run_id, 0) + 1

    def deliver(self, marks: Sequence[tuple[int, str]]) -> None:
        """Note that answers reached their callers: the marks that say in which attempt at its run, and the calls."""
        if self.cursor.executemany(_DELIVER, marks).rowcount != len(marks):
            for mark, call_id in marks:
                self._deliver_late(mark, call_id)

    def _deliver_late(self, mark: int, call_id: str) -> None:
        for before, is_summed in self.db.execute(_WAS, (call_id,)).fetchall():
            if before < mark:
                self.cursor.execute(_DELIVER_LATE, (mark, call_id))
                if is_summed:
                    self.resum("calls", (call_id, before) if before else None, (call_id, mark))

    def sum_up(self) -> None:
        """Have what was delivered of the calls so far be part of the sum: what is delivered now need not be summed."""
        self._sums.sum_up(self.db, self._summed, self.seq)

    def resum(self, table: str, before: tuple[Any, ...] | None, after: tuple[Any, ...] | None) -> None:
        """Have the sum of a table follow a row that was `before` and is `after`; None: there is no such row."""
        self._sums.change(self._summed, table, before, after)

    def sum_anew(self) -> None:
        """Sum the rows that no event tells of as they are now."""
        self._summed.clear()
        self._sums.take(self.db)

    def settle(self) -> None:
        """Write what the transitions of this transaction left to the end so far."""
        self.write_events()
        if not self._is_sure and read_head(self.db) != self._written:
            raise _Presumed
        if self._steps:
            self.cursor.executemany(_COUNT, self._steps.items())
            self._steps.clear()
        if self._summed:
            self._sums.write(self.db, self._summed)
            self._summed.clear()


def _some(rows: list[_Value], width: int) -> Iterator[list[_Value]]:
    for start in range(0, len(rows), _AT_ONCE * width):
        yield rows[start : start + _AT_ONCE * width]


def read_head(db: sqlite3.Connection) -> Head:
    """Return where the chain ends. Raises `LedgerTampered` when nothing says so."""
    row: Head | None = db.execute(_HEAD).fetchone()
    if row is None:
        raise broken(1, "and all others are in doubt: the head of the chain is missing")
    return row


Transition = Callable[[Transaction], Any]
"""One transition. It raises a `GatewayError` only before it has written anything; then the others go on without it."""

Group = tuple[Sequence[tuple[int, str]], Sequence[Transition]]
"""Marks of deliveries, each with its call, and the transitions that are written after them."""


class Committer:
    """Commits batches on one connection; it remembers how safely that writes right now, and which shares it used."""

    def __init__(self, sums: Sums) -> None:
        self._sums = sums
        self._shares = Shares()
        self._durable = True  # as a new connection is

    def commit(self, db: sqlite3.Connection, group: Group, known: Head, durable: bool) -> tuple[list[Any], Head]:
        """Write a group in one transaction; return its answers (a refused one's is its fault) and the new head.

        Any error of the database undoes all of it. With `durable` the log is on the disk before this returns.
        """
        self._write_durably(db, durable)
        if known != _UNKNOWN:
            try:
                return self._commit(db, group, partial(Transaction, db, self._sums, self._shares, known))
            except _Presumed:
                pass  # undone; what it found out may not be so
        return self._commit(db, group, partial(self._from_the_end, db, known))

    def _from_the_end(self, db: sqlite3.Connection, known: Head) -> Transaction:
        transaction = Transaction(db, self._sums, self._shares)
        _check_head((transaction.seq, transaction.hash), known)
        return transaction

    @staticmethod
    def _commit(db: sqlite3.Connection, group: Group, begin: Callable[[], Transaction]) -> tuple[list[Any], Head]:
        marks, transitions = group
        db.execute("BEGIN IMMEDIATE")
        try:
            transaction = begin()
            if marks:
                transaction.deliver(marks)
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
