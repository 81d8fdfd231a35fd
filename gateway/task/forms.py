"""The two forms of a task: of 2025-11-25, where the client asks for one, and of the extension to 2026-07-28.

In the first, a call with `task` is answered with `{"task": {…}}`, and its result is fetched with `tasks/result`; in the
second the server decides, answers with `resultType: task`, and `tasks/get` brings the result along. How a task stands
is said alike in both, under some other names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.model.task import TASKS_EXTENSION

__all__ = [
    "LEGACY",
    "MODERN",
    "OVER",
    "RELATED_META",
    "Form",
    "broken",
    "form_of",
    "is_only_task",
    "may_be_task",
    "offers",
    "task_in",
    "translated",
]

RELATED_META: Final = "io.modelcontextprotocol/related-task"
OVER: Final = frozenset({"completed", "failed", "cancelled"})
"""The statuses that no other follows."""

_STATUSES: Final = OVER | {"working", "input_required"}
_LONGEST_ID: Final = 1024
_EXPECTED_S: Final = 5.0
_SHORTEST_MS: Final = 250
_LONGEST_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Form:
    """A form: its name, and what it calls a task's time to live and the pause between two questions, in ms."""

    name: str
    ttl: str
    interval: str

    def task_in(self, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the task that a result says a call became, or None where it is no such result."""
        if self is MODERN:
            return result if result.get("resultType") == "task" else None
        task = result.get("task")
        return task if isinstance(task, Mapping) and "resultType" not in result else None

    def renamed(self, result: Mapping[str, Any], task_id: str) -> dict[str, Any]:
        """Return the result that says what a call became, under another id."""
        if self is MODERN:
            return {**result, "taskId": task_id}
        return {**result, "task": {**result["task"], "taskId": task_id}}

    def made_of(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result that says that a call became `task`."""
        return {**task, "resultType": "task"} if self is MODERN else {"task": dict(task)}

    def lives_ms(self, task: Mapping[str, Any], longest_ms: int) -> int:
        """Return for how long its server keeps a task."""
        ttl = task.get(self.ttl)
        usable = isinstance(ttl, int | float) and not isinstance(ttl, bool) and 0 <= ttl <= longest_ms
        return int(ttl) if usable else longest_ms  # type: ignore[arg-type]  # a number, if usable

    def pause_s(self, task: Mapping[str, Any]) -> float:
        """Return how long to wait between two questions about a task."""
        interval = task.get(self.interval)
        if not isinstance(interval, int | float) or isinstance(interval, bool):
            return _EXPECTED_S
        return min(max(interval, _SHORTEST_MS), _LONGEST_MS) / 1000


LEGACY: Final = Form("legacy", "ttl", "pollInterval")
MODERN: Final = Form("modern", "ttlMs", "pollIntervalMs")


def task_in(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the task that a result of either form says a call became, or None where it is no such result."""
    return MODERN.task_in(result) or LEGACY.task_in(result)


def form_of(name: str) -> Form:
    """Return the form of that name."""
    return MODERN if name == MODERN.name else LEGACY


def translated(task: Mapping[str, Any], spoken: Form, form: Form) -> Mapping[str, Any]:
    """Return how a task stands as `form` has it, given how `spoken` does."""
    if spoken is form:
        return task
    kept = {name: value for name, value in task.items() if name not in {spoken.ttl, spoken.interval, *_OF_MODERN}}
    interval = {form.interval: task[spoken.interval]} if spoken.interval in task else {}
    return {**kept, form.ttl: task.get(spoken.ttl), **interval}


_OF_MODERN: Final = frozenset({"resultType", "inputRequests", "result", "error"})


def broken(task: Mapping[str, Any]) -> str:
    """Return what makes an object no task, or nothing."""
    task_id = task.get("taskId")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= _LONGEST_ID:
        return f"taskId is not a text of 1 to {_LONGEST_ID} characters"
    status = task.get("status")
    return "" if isinstance(status, str) and status in _STATUSES else "its status is none that a task has"


def may_be_task(definition: Mapping[str, Any]) -> bool:
    """Tell whether a tool of a legacy server may be called as a task."""
    execution = definition.get("execution")
    return isinstance(execution, Mapping) and execution.get("taskSupport") in {"optional", "required"}


def is_only_task(definition: Mapping[str, Any]) -> bool:
    """Tell whether a tool of a legacy server is called as a task or not at all."""
    execution = definition.get("execution")
    return isinstance(execution, Mapping) and execution.get("taskSupport") == "required"


def offers(capabilities: Mapping[str, Any], form: Form) -> bool:
    """Tell whether a server of these capabilities may carry a tool call out as a task of this form."""
    path = ("extensions", TASKS_EXTENSION) if form is MODERN else ("tasks", "requests", "tools", "call")
    node: Any = capabilities
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return isinstance(node, Mapping)
