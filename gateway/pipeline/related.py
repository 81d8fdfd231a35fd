"""What is said about a task carries the task's id; between client and gateway that is the gateway's own.

The one place where `_meta` that relates a message to a task is rewritten, on its way to the client and back.
"""

from collections.abc import Mapping
from typing import Any

from gateway.model.back import Back, Hear
from gateway.task.forms import RELATED_META

__all__ = ["Related", "Way", "about_task", "related"]


class Way(Back):
    """Which of a server's sessions a task lives in. It leads to nobody."""

    def __init__(self, back: Back) -> None:
        self.capabilities = back.capabilities
        self.declares = back.declares
        self.lane = back.lane
        self.log_level = back.log_level


class Related(Back):
    """The way back to the client that asks about a task, over the session of the server in which the task lives.

    `task_id` is what the client knows the task by.
    """

    def __init__(self, back: Back, task_id: str, way: Back | None = None) -> None:
        of = way or back
        self.capabilities = of.capabilities
        self.declares = of.declares
        self.lane = of.lane
        self.log_level = of.log_level
        self.logs_by_default = of.logs_by_default
        self.wants_progress = back.wants_progress
        self.takes_input_required = back.takes_input_required
        self.begins_tasks = back.begins_tasks
        self._back = back
        self._task_id = task_id

    def stood_still(self) -> float:
        return self._back.stood_still()

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._back.notify(method, related(params, self._task_id))

    def between(self) -> Back:
        return self._back.between()

    async def ask(self, method: str, params: Mapping[str, Any], hear: Hear | None = None) -> Mapping[str, Any]:
        answer = await self._back.ask(method, related(params, self._task_id), hear)
        theirs = _task_in(params)
        return answer if theirs is None else related(answer, theirs)


def related(said: Mapping[str, Any], task_id: str) -> Mapping[str, Any]:
    """Return what was said with another task's id in its `_meta`, where there is one."""
    if _task_in(said) is None:
        return said
    meta = said["_meta"]
    return {**said, "_meta": {**meta, RELATED_META: {**meta[RELATED_META], "taskId": task_id}}}


def about_task(result: Mapping[str, Any], task_id: str) -> Mapping[str, Any]:
    """Return a result as that of a task."""
    meta = result.get("_meta")
    return {**result, "_meta": {**(meta if isinstance(meta, dict) else {}), RELATED_META: {"taskId": task_id}}}


def _task_in(said: Mapping[str, Any]) -> str | None:
    meta = said.get("_meta")
    about = meta.get(RELATED_META) if isinstance(meta, Mapping) else None
    task_id = about.get("taskId") if isinstance(about, Mapping) else None
    return task_id if isinstance(task_id, str) else None
