"""The events that tell of rows, as every store writes them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.codec import dump
from gateway.store.bodies import saying
from gateway.store.ports import EventKind, Record, TokenRecord
from gateway.store.tasks import TaskRecord
from gateway.store.told_rows import TableRow, Told, gone, spent_row, task_row, token_row

__all__ = [
    "ROW_EVENTS",
    "RowEvent",
    "adopted",
    "begun",
    "changed_task",
    "forgotten_tasks",
    "issued",
    "placed",
    "revoked",
    "spent",
    "summed",
]

ROW_EVENTS: Final = frozenset(
    {
        EventKind.TOKEN_ISSUED,
        EventKind.TOKEN_REVOKED,
        EventKind.STATE_SPENT,
        EventKind.TASK_BEGUN,
        EventKind.TASK_CHANGED,
        EventKind.TASKS_FORGOTTEN,
        EventKind.RUN_PLACED,
    }
)


class RowEvent(NamedTuple):
    """An event to be: `at_ms, kind, call_id, run_id, agent, on_behalf_of, tool`, and its text."""

    told: tuple[int, EventKind, str, str, str, str, str]
    body: bytes


def issued(token: TokenRecord, by: str) -> RowEvent:
    """Return the event of a new token."""
    body = {"what": "token issued", "tokens": [token.id], "by": by, "rows": [token_row(token).told()]}
    return RowEvent((token.created_ms, EventKind.TOKEN_ISSUED, "", "", token.agent, "", ""), dump(body))


def revoked(agent: str, tokens: Sequence[TokenRecord], at_ms: int, by: str) -> RowEvent:
    """Return the event of an agent's tokens that work no longer from `at_ms` on."""
    rows = [token_row(each).told() for each in tokens]
    body = {"what": "token revoked", "tokens": [each.id for each in tokens], "by": by, "rows": rows}
    return RowEvent((at_ms, EventKind.TOKEN_REVOKED, "", "", agent, "", ""), dump(body))


def spent(item: str, until_ms: int, at_ms: int, forgotten: Sequence[str]) -> RowEvent:
    """Return the event of something used up, while others had their time."""
    rows = [*gone("spent", forgotten), spent_row(item, until_ms).told()]
    return _of_rows(at_ms, EventKind.STATE_SPENT, rows)


def begun(task: TaskRecord, record: Record) -> Record:
    """Return the record of a task's beginning, telling of its row too."""
    return saying(record, {"rows": [task_row(task).told()]})


def changed_task(row: TableRow, at_ms: int) -> RowEvent:
    """Return the event of a task that stands otherwise than before."""
    return _of_rows(at_ms, EventKind.TASK_CHANGED, [row.told()])


def forgotten_tasks(ids: Sequence[str], at_ms: int) -> RowEvent:
    """Return the event of tasks that nobody asks for any more."""
    return _of_rows(at_ms, EventKind.TASKS_FORGOTTEN, gone("tasks", ids))


def placed(place: TableRow, at_ms: int, forgotten: Sequence[str]) -> RowEvent:
    """Return the event of a conversation that goes on in another run, while other places had their time."""
    return _of_rows(at_ms, EventKind.RUN_PLACED, [*gone(place.table, forgotten), place.told()])


def adopted(rows: Sequence[TableRow], at_ms: int) -> RowEvent:
    """Return the event that takes rows as they are, since no event told of them before."""
    return _of_rows(at_ms, EventKind.ROWS_ADOPTED, [row.told() for row in rows])


def summed(at_ms: int) -> RowEvent:
    """Return the event that sums rows as they are, since no sum was kept of them before."""
    return RowEvent((at_ms, EventKind.ROWS_ADOPTED, "", "", "", "", ""), dump({"rows": [], "sums": True}))


def _of_rows(at_ms: int, kind: EventKind, rows: list[Told]) -> RowEvent:
    return RowEvent((at_ms, kind, "", "", "", "", ""), dump({"rows": rows}))
