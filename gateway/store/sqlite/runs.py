"""Runs: rows to find them by, and the events that say what became of them."""

import sqlite3
from collections.abc import Mapping
from typing import Final

from gateway.model.errors import StoreFault
from gateway.model.facts import RunRef
from gateway.store.bodies import attempt_body, cancel_body, run_body
from gateway.store.ports import EventKind
from gateway.store.row_events import placed
from gateway.store.runs import (
    Attempt,
    AttemptBegin,
    Placed,
    RunCancel,
    RunChange,
    RunSummary,
    next_attempt,
    told_caller,
)
from gateway.store.sqlite.transaction import Transaction
from gateway.store.told_rows import place_row

__all__ = [
    "begin_attempt",
    "cancel_run",
    "count_steps",
    "find_attempt",
    "find_changes",
    "find_named",
    "find_placed",
    "find_run",
    "find_runs",
    "open_run",
    "place_run",
]

_KEPT_MS: Final = 30 * 24 * 3_600_000
_COLUMNS: Final = "id, owner, source, status"
_RUN: Final = f"SELECT {_COLUMNS} FROM runs WHERE id = ?"  # noqa: S608 - constant names
_NAMED: Final = f"SELECT {_COLUMNS} FROM runs WHERE owner = ? AND key = ? ORDER BY opened_seq DESC LIMIT 1"  # noqa: S608 - constant names
_OPEN: Final = "INSERT INTO runs (opened_seq, id, owner, key, source, status, opened_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
_STEPS: Final = "SELECT steps FROM run_steps WHERE run_id = ?"
# The same text as in the migration: that is how the planner knows the index for it.
_CHANGING: Final = "kind IN ('run.begun', 'run.cancelled')"
_BEGUN: Final = f"{_CHANGING} AND kind = 'run.begun'"
_BEGINNINGS: Final = (
    "SELECT json_extract(body, '$.attempt'), json_extract(body, '$.label'), seq FROM events"  # noqa: S608 - constant names
    f" WHERE run_id = ? AND agent = ? AND on_behalf_of = ? AND {_BEGUN} ORDER BY seq"
)
_RUNS: Final = (
    "SELECT r.id, r.owner, r.source, r.status, r.key, r.opened_ms, coalesce(s.steps, 0),"  # noqa: S608 - constant names
    " (SELECT count(*) FROM calls c WHERE c.run_id = r.id AND c.status = 'unknown'),"
    " (SELECT coalesce(max(json_extract(body, '$.attempt')), 1) FROM events"
    f"  WHERE run_id = r.id AND {_BEGUN} AND agent || iif(on_behalf_of = '', '', '/' || on_behalf_of) = r.owner)"
    " FROM runs r LEFT JOIN run_steps s ON s.run_id = r.id WHERE (? = '' OR r.owner = ?)"
    " ORDER BY r.opened_seq DESC LIMIT ?"
)
_CANCEL: Final = "UPDATE runs SET status = 'cancelled' WHERE id = ? AND status = 'open' RETURNING owner"
_CHANGES: Final = (
    f"SELECT seq, run_id, kind, agent, on_behalf_of FROM events WHERE seq > ? AND {_CHANGING} ORDER BY seq"  # noqa: S608 - constant names
)
_PLACE: Final = "INSERT OR REPLACE INTO run_places (owner, place, run_id, at_ms) VALUES (?, ?, ?, ?)"
_FORGET: Final = "DELETE FROM run_places WHERE at_ms < ? RETURNING owner, place, run_id, at_ms"
_PLACED: Final = (
    "SELECT r.id, r.owner, r.source, r.status, p.at_ms, max(p.at_ms, r.opened_ms,"
    " (SELECT coalesce(max(started_ms), 0) FROM calls WHERE run_id = r.id),"
    " (SELECT coalesce(max(at_ms), 0) FROM events WHERE run_id = r.id"
    "  AND kind NOT IN ('call.claimed', 'call.finished')))"
    " FROM run_places p JOIN runs r ON r.id = p.run_id WHERE p.owner = ? AND p.place = ?"
)


def open_run(tx: Transaction, run: RunRef, key: str, at_ms: int) -> RunRef:
    """Return the latest run of this owner and key, else open `run`."""
    found = find_named(tx.db, run.owner, key)
    if found is not None:
        return found
    body = run_body(run, key)
    told = (run.id, run.owner, key, run.source, run.status, at_ms)
    try:
        tx.db.execute(_OPEN, (tx.seq + 1, *told))
    except sqlite3.IntegrityError as error:
        raise StoreFault("The run cannot be opened.", detail=f"{run.id} was opened before") from error
    tx.append((at_ms, EventKind.RUN_OPENED.value, "", run.id, *told_caller(run.owner), ""), body)
    return run


def begin_attempt(tx: Transaction, begin: AttemptBegin) -> Attempt:
    """Begin a run anew for a caller, unless its label has done so before."""
    if find_run(tx.db, begin.run_id) is None:
        raise StoreFault("The run cannot be begun anew.", detail=f"there is no run {begin.run_id}")
    tx.settle()
    attempts = _attempts(tx.db, begin.run_id, begin.who)
    number = next_attempt(begin, attempts, count_steps(tx.db, begin.run_id))
    if number == 0:
        return attempts[-1]
    told = (begin.at_ms, EventKind.RUN_BEGUN.value, "", begin.run_id, *told_caller(begin.who), "")
    return Attempt(number, begin.label, tx.append(told, attempt_body(begin, number)))


def cancel_run(tx: Transaction, cancel: RunCancel) -> bool:
    """End a run; False where it is no open one."""
    body = cancel_body(cancel)
    row = next(iter(tx.db.execute(_CANCEL, (cancel.run_id,)).fetchall()), None)
    if row is None:
        return False
    told = (cancel.at_ms, EventKind.RUN_CANCELLED.value, "", cancel.run_id, *told_caller(row[0]), "")
    tx.append(told, body)
    return True


def place_run(tx: Transaction, owner: str, place: str, run_id: str, at_ms: int) -> None:
    """Have an owner's conversation go on in a run; forget what was said too long ago to matter."""
    found = tx.db.execute(_FORGET, (at_ms - _KEPT_MS,)).fetchall()
    row = place_row(owner, place, run_id, at_ms)
    tx.db.execute(_PLACE, row.values)
    tx.append(*placed(row, at_ms, sorted(place_row(*each).key for each in found)))


def find_run(db: sqlite3.Connection, run_id: str) -> RunRef | None:
    """Return a run by id."""
    row = db.execute(_RUN, (run_id,)).fetchone()
    return None if row is None else RunRef(*row)


def find_named(db: sqlite3.Connection, owner: str, key: str) -> RunRef | None:
    """Return the latest run of an owner and key."""
    row = db.execute(_NAMED, (owner, key)).fetchone()
    return None if row is None else RunRef(*row)


def count_steps(db: sqlite3.Connection, run_id: str) -> int:
    """Return how many calls a run holds."""
    row = db.execute(_STEPS, (run_id,)).fetchone()
    return 0 if row is None else int(row[0])


def find_runs(db: sqlite3.Connection, owner: str, limit: int) -> list[RunSummary]:
    """Return the runs of an owner, or all, the latest first."""
    return [RunSummary(RunRef(*row[:4]), *row[4:]) for row in db.execute(_RUNS, (owner, owner, limit))]


def find_attempt(db: sqlite3.Connection, run_id: str, who: str) -> Attempt:
    """Return the attempt that a caller is in."""
    attempts = _attempts(db, run_id, who)
    return attempts[-1] if attempts else Attempt()


def _attempts(db: sqlite3.Connection, run_id: str, who: str) -> list[Attempt]:
    return [Attempt(*row) for row in db.execute(_BEGINNINGS, (run_id, *told_caller(who)))]


def find_changes(db: sqlite3.Connection, after_seq: int) -> list[RunChange]:
    """Return what became of runs after an event."""
    return [
        RunChange(seq, run_id, (f"{agent}/{user}" if user else agent) if kind == EventKind.RUN_BEGUN else "")
        for seq, run_id, kind, agent, user in db.execute(_CHANGES, (after_seq,))
    ]


def find_placed(db: sqlite3.Connection, owner: str, places: tuple[str, ...]) -> Mapping[str, Placed]:
    """Return, by place, in which of its runs an owner's conversations go on."""
    rows = {place: db.execute(_PLACED, (owner, place)).fetchone() for place in places}
    return {place: Placed(RunRef(*row[:4]), *row[4:]) for place, row in rows.items() if row is not None}
