"""The tasks that calls became, as rows."""

import sqlite3
from typing import Any, Final

from gateway.codec import parse
from gateway.model.errors import StoreFault
from gateway.store.ports import Record
from gateway.store.removable import Text
from gateway.store.row_events import changed_task, forgotten_tasks
from gateway.store.sqlite import transitions
from gateway.store.sqlite.transaction import Transaction
from gateway.store.tasks import TaskRecord
from gateway.store.told_rows import TOLD_COLUMNS, row_in, task_row

__all__ = ["begin_task", "find_task", "forget_tasks", "open_tasks", "save_task", "tasks_of"]

_COLUMNS: Final = TOLD_COLUMNS["tasks"]
_BEGIN: Final = f"INSERT OR IGNORE INTO tasks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant names
_SAVE: Final = f"UPDATE tasks SET is_open = ?, until_ms = ?, body = ? WHERE id = ? RETURNING {_COLUMNS}"  # noqa: S608 - constant names
_FIND: Final = f"SELECT {_COLUMNS} FROM tasks WHERE id = ?"  # noqa: S608 - constant names
_OF: Final = f"SELECT {_COLUMNS} FROM tasks WHERE owner = ? ORDER BY rowid DESC LIMIT ?"  # noqa: S608 - constant names
_OPEN: Final = f"SELECT {_COLUMNS} FROM tasks WHERE is_open = 1 ORDER BY rowid"  # noqa: S608 - constant names
_FORGET: Final = "DELETE FROM tasks WHERE is_open = 0 AND until_ms < ? RETURNING id"


def begin_task(tx: Transaction, task: TaskRecord, record: Record, body: Text) -> None:
    """Add a task, and the event that tells of it."""
    if tx.db.execute(_BEGIN, task_row(task).values).rowcount != 1:
        raise StoreFault("The task cannot be recorded.", detail=f"{task.id} was begun before")
    transitions.record(record, body, tx)


def save_task(tx: Transaction, task: TaskRecord, at_ms: int) -> None:
    """Note how a task stands now."""
    _, _, _, *now = task_row(task).values
    for row in tx.db.execute(_SAVE, (*now, task.id)).fetchall():  # none, where it was forgotten
        tx.append(*changed_task(row_in("tasks", row), at_ms))


def forget_tasks(tx: Transaction, before_ms: int) -> int:
    """Remove tasks nobody asks for any more; return how many."""
    ids = sorted(each for (each,) in tx.db.execute(_FORGET, (before_ms,)).fetchall())
    if ids:
        tx.append(*forgotten_tasks(ids, before_ms))
    return len(ids)


def find_task(db: sqlite3.Connection, task_id: str) -> TaskRecord | None:
    """Return a task, or None."""
    row = db.execute(_FIND, (task_id,)).fetchone()
    return None if row is None else _task(row)


def tasks_of(db: sqlite3.Connection, owner: str, limit: int) -> list[TaskRecord]:
    """Return the latest tasks of an owner, the latest first."""
    return [_task(row) for row in db.execute(_OF, (owner, limit))]


def open_tasks(db: sqlite3.Connection) -> list[TaskRecord]:
    """Return the tasks whose calls have no outcome yet."""
    return [_task(row) for row in db.execute(_OPEN)]


def _task(row: tuple[Any, ...]) -> TaskRecord:
    task_id, call_id, owner, is_open, until_ms, body = row
    return TaskRecord(task_id, call_id, owner, bool(is_open), until_ms, parse(body.encode()))
