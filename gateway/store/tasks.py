"""What the pipeline asks of storage for calls that an MCP server carries out as tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gateway.store.ports import Record

__all__ = ["TaskRecord", "TaskStore"]


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A claimed call that became a task; `id` is what its client knows it by, `owner` whose it is.

    While it `is_open`, the call has no outcome yet, and `until_ms` is when nobody waits for one any longer; after that
    it is when the task may be forgotten. `body` is a JSON object.
    """

    id: str
    call_id: str
    owner: str
    is_open: bool
    until_ms: int
    body: Mapping[str, Any] = field(repr=False)


class TaskStore(Protocol):
    """Tasks, so that they outlive the process. What was called and what came of it is the ledger's to say."""

    async def begin_task(self, task: TaskRecord, record: "Record") -> None:
        """Add a task and, in the same transaction, the event that tells of it. Raises `StoreFault`: its id is taken."""
        ...

    async def save_task(self, task: TaskRecord, at_ms: int) -> None:
        """Note how a task stands now, on the chain too; nothing happens where it was forgotten."""
        ...

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return a task, or None where there is none of that id."""
        ...

    async def tasks_of(self, owner: str, limit: int) -> list[TaskRecord]:
        """Return the latest tasks of an owner, the latest first."""
        ...

    async def open_tasks(self) -> list[TaskRecord]:
        """Return every task whose call has no outcome yet, as far as is known."""
        ...

    async def forget_tasks(self, before_ms: int) -> int:
        """Remove the tasks that are over, and may be forgotten since before `before_ms`; return how many."""
        ...
