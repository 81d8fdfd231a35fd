"""Rows of which events tell: each change of one says, on the chain, what the row is from then on.

An event's member `rows` is a list of `[table, key, digest]`; the digest is null where the row is gone. So the rows of
tokens, pauses, tasks, places and spent states can be held against the chain, although what they say is in them alone.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.codec import CodecError, dump

if TYPE_CHECKING:
    from gateway.store.ports import PauseRecord, TokenRecord
    from gateway.store.tasks import TaskRecord

__all__ = [
    "TOLD",
    "TOLD_COLUMNS",
    "TOLD_KEYS",
    "TableRow",
    "Told",
    "gone",
    "pause_row",
    "place_row",
    "row_in",
    "row_name",
    "spent_row",
    "task_row",
    "token_row",
]

TOLD_COLUMNS: Final = {
    "tokens": "id, agent, digest, created_ms, expires_ms, revoked_ms",
    "spent": "id, until_ms",
    "tasks": "id, call_id, owner, is_open, until_ms, body",
    "run_places": "owner, place, run_id, at_ms",
    "pauses": "scope, since_ms, by_whom, reason",
}
"""The tables whose rows are told of, with every column in the order of their digests."""

TOLD_KEYS: Final = {"run_places": 2, "sightings": 2}
"""How many of the first columns name a row, where it is not one."""

TOLD: Final = (str, str, str | None)
"""The types of what an event says of a row."""

Told = list[str | None]
"""`table, key, digest`: what an event says of a row."""


class TableRow(NamedTuple):
    """A row as the database has it: `values` in the order of `TOLD_COLUMNS`."""

    table: str
    key: str
    values: tuple[Any, ...]

    def digest(self) -> str:
        """Return the SHA-256 of the table and the values; no digest at all of what no store writes."""
        try:
            return hashlib.sha256(dump([self.table, *self.values])).hexdigest()
        except (CodecError, UnicodeEncodeError):
            return ""

    def told(self) -> Told:
        """Return what an event says that made this row what it is."""
        return [self.table, self.key, self.digest()]


def gone(table: str, keys: Iterable[str]) -> list[Told]:
    """Return what an event says that removed rows."""
    return [[table, key, None] for key in keys]


def row_in(table: str, values: tuple[Any, ...]) -> TableRow:
    """Return the row of a table with these values."""
    return TableRow(table, row_name(table, values), values)


def row_name(table: str, values: tuple[Any, ...]) -> str:
    """Return what names the row of a table with these values."""
    wide = TOLD_KEYS.get(table, 1)
    return str(values[0]) if wide == 1 else json.dumps(values[:wide], default=repr)


def token_row(token: "TokenRecord") -> TableRow:
    """Return the row of a token."""
    told = (token.id, token.agent, token.digest, token.created_ms, token.expires_ms, token.revoked_ms)
    return row_in("tokens", told)


def spent_row(item: str, until_ms: int) -> TableRow:
    """Return the row of what was good for one use."""
    return row_in("spent", (item, until_ms))


def task_row(task: "TaskRecord") -> TableRow:
    """Return the row of a task."""
    body = dump(dict(task.body)).decode()
    return row_in("tasks", (task.id, task.call_id, task.owner, int(task.is_open), task.until_ms, body))


def place_row(owner: str, place: str, run_id: str, at_ms: int) -> TableRow:
    """Return the row of a place where a conversation goes on in a run."""
    return row_in("run_places", (owner, place, run_id, at_ms))


def pause_row(pause: "PauseRecord") -> TableRow:
    """Return the row of a pause."""
    return row_in("pauses", (pause.scope, pause.since_ms, pause.by, pause.reason))
