"""Tasks in memory: the same promises as any other store's, for as long as the process lives."""

from gateway.model.errors import StoreFault
from gateway.store.memory_chain import MemoryChain
from gateway.store.row_events import changed_task, forgotten_tasks
from gateway.store.tasks import TaskRecord
from gateway.store.told_rows import task_row

__all__ = ["MemoryTasks"]


class MemoryTasks(MemoryChain):
    """The part of a memory store that keeps the tasks."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, TaskRecord] = {}

    def _begin(self, task: TaskRecord) -> None:
        if task.id in self._tasks:
            raise StoreFault("The task cannot be recorded.", detail=f"{task.id} was begun before")
        self._tasks[task.id] = task

    async def save_task(self, task: TaskRecord, at_ms: int) -> None:
        if task.id in self._tasks:
            self._tasks[task.id] = task
            self._append(*changed_task(task_row(task), at_ms))

    async def find_task(self, task_id: str) -> TaskRecord | None:
        return self._tasks.get(task_id)

    async def tasks_of(self, owner: str, limit: int) -> list[TaskRecord]:
        return [task for task in reversed(self._tasks.values()) if task.owner == owner][:limit]

    async def open_tasks(self) -> list[TaskRecord]:
        return [task for task in self._tasks.values() if task.is_open]

    async def forget_tasks(self, before_ms: int) -> int:
        old = [task.id for task in self._tasks.values() if not task.is_open and task.until_ms < before_ms]
        for task_id in old:
            del self._tasks[task_id]
        if old:
            self._append(*forgotten_tasks(sorted(old), before_ms))
        return len(old)
