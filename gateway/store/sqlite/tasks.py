"""The tasks that calls became, as rows."""

import sqlite3
from typing import Any, Final

from gateway.codec import dump, parse
from gateway.model.errors import StoreFault
from gateway.store.ports import Record
from gateway.store.sqlite import transitions
from gateway.store.sqlite.transaction import Transaction
from gateway.store.tasks import TaskRecord

__all__ = ["begin_task", "find_task", "forget_tasks", "open_tasks", "save_task", "tasks_of"]

_COLUMNS: Final = "id, call_id, owner, is_open, until_ms, body"
_BEGIN: Final = f"INSERT OR IGNORE INTO tasks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant names
_SAVE: Final = "UPDATE tasks SET is_open = ?, until_ms = ?, body = ? WHERE id = ?"
_FIND: Final = f"SELECT {_COLUMNS} FROM tasks WHERE id = ?"  # noqa: S608 - constant names
_OF: Final = f"SELECT {_COLUMNS} FROM tasks WHERE owner = ? ORDER BY rowid DESC LIMIT ?"  # noqa: S608 - constant names
_OPEN: Final = f"SELECT {_COLUMNS} FROM tasks WHERE is_open = 1 ORDER BY rowid"  # noqa: S608 - constant names
_FORGET: Final = "DELETE FROM tasks WHERE is_open = 0 AND until_ms < ?"


def begin_task(tx: Transaction, task: TaskRecord, record: Record, body: bytes) -> None:
    """Add a task, and the event that tells of it."""
    if tx.db.execute(_BEGIN, _row(task)).rowcount != 1:
        raise StoreFault("The task cannot be recorded.", detail=f"{task.id} was begun before")
    transitions.record(tx, record, body)


def save_task(tx: Transaction, task: TaskRecord) -> None:
    """Note how a task stands now."""
    _, _, _, *now = _row(task)
    tx.db.execute(_SAVE, (*now, task.id))


def forget_tasks(tx: Transaction, before_ms: int) -> int:
    """Remove tasks nobody asks for any more; return how many."""
    return int(tx.db.execute(_FORGET, (before_ms,)).rowcount)


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


def _row(task: TaskRecord) -> tuple[Any, ...]:
    return task.id, task.call_id, task.owner, task.is_open, task.until_ms, dump(dict(task.body)).decode()


def _task(row: tuple[Any, ...]) -> TaskRecord:
    task_id, call_id, owner, is_open, until_ms, body = row
    return TaskRecord(task_id, call_id, owner, bool(is_open), until_ms, parse(body.encode()))
