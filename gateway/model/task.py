"""What a request about a task is about: the call that became the task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.model.facts import Facts
from gateway.model.tool import Tool

__all__ = ["CANCEL_TASK", "GET_TASK", "TASKS_EXTENSION", "TASK_METHODS", "TASK_RESULT", "UPDATE_TASK", "Begun"]

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
GET_TASK: Final = "tasks/get"
TASK_RESULT: Final = "tasks/result"
UPDATE_TASK: Final = "tasks/update"
CANCEL_TASK: Final = "tasks/cancel"
TASK_METHODS: Final = frozenset({GET_TASK, TASK_RESULT, UPDATE_TASK, CANCEL_TASK})
"""What is asked of one task; each is decided as the call that became the task, under the policies of today."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that became a task. `facts` are those it was decided on; `tool` is what its tool is pinned as today.

    `asked_people` says that it became one while people were asked about it: until they answer, it is not allowed.
    `handed` says that it was made by a registered agent in whose run the work was handed on to it.
    """

    task_id: str
    call_id: str
    tool: Tool
    arguments: Mapping[str, Any] = field(repr=False)
    facts: Facts = field(repr=False)
    asked_people: bool = False
    handed: bool = False

    @property
    def in_run(self) -> str | None:
        """The run in which whoever asks about it does so: else they would be asking as who they are elsewhere."""
        return self.facts.run.id if self.handed else None
