"""What clients ask about tasks, in either form; the gateway's own ids are the only ones they know."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.model.errors import GatewayError, RequestFault
from gateway.model.identity import Identity
from gateway.model.operation import operation
from gateway.model.task import CANCEL_TASK, GET_TASK, TASK_RESULT, TASKS_EXTENSION, UPDATE_TASK, Begun
from gateway.pipeline.directory import Directory
from gateway.pipeline.polling import Held
from gateway.pipeline.tasks import Tasks
from gateway.task.forms import LEGACY, MODERN, Form, offers
from gateway.transport.answers import recorded
from gateway.transport.envelope import MODERN_VERSIONS
from gateway.transport.kernel import LEGACY_TASKS_SINCE, Answer, Asked, Kernel
from gateway.transport.links import links_in
from gateway.transport.wire import RpcError

__all__ = ["TASK_REQUESTS", "TaskDesk", "TaskNews"]

_LIST: Final = "tasks/list"
_STATUS: Final = "notifications/tasks/status"
_NEWS: Final = "notifications/tasks"
_INVALID_PARAMS: Final = -32602
_METHOD_NOT_FOUND: Final = -32601
_MISSING_CAPABILITY: Final = -32021
_OF_LEGACY: Final = frozenset({GET_TASK, TASK_RESULT, CANCEL_TASK, _LIST})
_OF_MODERN: Final = frozenset({GET_TASK, UPDATE_TASK, CANCEL_TASK})
TASK_REQUESTS: Final = _OF_LEGACY | _OF_MODERN
"""Every method that is about tasks."""

_MOST_HEARD: Final = 100
Tell = Callable[[str, Mapping[str, Any]], None]


class TaskDesk:
    """Answers requests about tasks, each decided and recorded like any other."""

    def __init__(self, kernel: Kernel, tasks: Tasks, directory: Directory) -> None:
        self._kernel = kernel
        self._tasks = tasks
        self._directory = directory

    def status_told(self, identity: Identity, tell: Tell) -> Callable[[Held], None]:
        """Return what tells a session of 2025-11-25 how a task stands, as far as its client may know it."""

        def told(held: Held) -> None:
            if held.form is LEGACY and self._tasks.may_see(identity, held):
                tell(_STATUS, self._tasks.state_of(held))

        return told

    def capability(self, endpoint: str) -> Mapping[str, Any] | None:
        """Return what the gateway says of tasks in the handshake of 2025-11-25, or None where there are none.

        There are where a server has them, and where calls may wait for people.
        """
        found = [offer.capabilities for offer in self._directory.offers(endpoint).values()]
        found = [each for each in found if offers(each, LEGACY) or offers(each, MODERN)]
        asks_people = self._directory.asks_people
        if not found and not asks_people:
            return None
        cancels = asks_people or any(offers(each, MODERN) or "cancel" in each["tasks"] for each in found)
        return {"list": {}, **({"cancel": {}} if cancels else {}), "requests": {"tools": {"call": {}}}}

    async def answer(self, asked: Asked) -> Answer:
        """Answer one request. Raises as `Kernel.answer`."""
        form = _form_of(asked)
        identity = await self._kernel.identify(asked.caller, asked.method, asked.params, asked.endpoint)
        if not (_speaks_of(asked, form) and await self._has_any(asked, identity, form)):
            raise RpcError(_METHOD_NOT_FOUND, "Method not found", status=404, data=asked.method)
        if asked.method == _LIST:
            return await self._listed(asked, identity)
        if form is MODERN and not _declares_tasks(asked):
            raise undeclared()
        task = await self._found(asked, identity, form)
        if asked.method == UPDATE_TASK and not isinstance(asked.params.get("inputResponses"), dict):
            raise RpcError(_INVALID_PARAMS, "tasks/update needs params.inputResponses, an object.")
        arguments = {name: value for name, value in asked.params.items() if name != "_meta"}
        answer = await self._kernel.govern(asked, operation(task.tool.server, asked.method), arguments, task)
        await self._follow_back(answer.result, task.tool.server, asked)
        return answer

    async def _follow_back(self, said: dict[str, Any], server: str, asked: Asked) -> None:
        """Have the links in the result of a task lead back to its server."""
        inside = said.get("result")
        result = inside if isinstance(inside, dict) else said
        if links_in(result.get("content")):
            content = await self._directory.linked(server, asked.endpoint, result["content"])
            said |= {"result": {**result, "content": content}} if result is inside else {"content": content}

    async def _has_any(self, asked: Asked, identity: Identity, form: Form) -> bool:
        """Tell whether there may be tasks. After a start, servers are waited for a little; one on record is there."""
        if self._offered(asked.endpoint):
            return True
        await self._directory.settled(asked.endpoint)
        task_id = asked.params.get("taskId")
        return self._offered(asked.endpoint) or (
            isinstance(task_id, str) and await self._tasks.find(task_id, identity, asked.endpoint, form) is not None
        )

    def _offered(self, endpoint: str) -> bool:
        found = self._directory.offers(endpoint).values()
        has_tasks = any(offers(each.capabilities, LEGACY) or offers(each.capabilities, MODERN) for each in found)
        return has_tasks or self._directory.asks_people

    async def _found(self, asked: Asked, identity: Identity, form: Form) -> Begun:
        """Return what a request is about; to whoever is not its principal, a task is not there."""
        task_id = asked.params.get("taskId")
        if not isinstance(task_id, str):
            raise RpcError(_INVALID_PARAMS, f"{asked.method} needs params.taskId, a string.")
        task = await self._tasks.find(task_id, identity, asked.endpoint, form)
        if task is None:
            fault = RequestFault("There is no such task of yours.")
            await self._kernel.refuse(asked.caller, asked.method, fault)
            raise recorded(RpcError(_INVALID_PARAMS, fault.message))
        return task

    async def _listed(self, asked: Asked, identity: Identity) -> Answer:
        self._kernel.admit(identity)
        if asked.params.get("cursor") is not None:
            raise RpcError(_INVALID_PARAMS, "There is no such cursor: the list has one page.")
        return Answer({"tasks": await self._tasks.listed(identity, asked.endpoint)})


class TaskNews:
    """Tells one client of 2026-07-28 how some of its tasks stand; each time as `tasks/get` would answer it."""

    def __init__(self, desk: TaskDesk, asked: Asked, tell: Tell) -> None:
        self._desk = desk
        self._asked = asked
        self._tell = tell
        self._ids: frozenset[str] = frozenset()
        self._telling: set[asyncio.Task[None]] = set()

    async def agree(self, wanted: Any) -> list[str]:
        """Return of which of the tasks that a client wants news of it gets news.

        Raises:
            RpcError: what it wants is no list of ids, or it does not declare that it follows tasks.
        """
        if not wanted:
            return []
        if (
            not isinstance(wanted, list)
            or len(wanted) > _MOST_HEARD
            or not all(isinstance(each, str) for each in wanted)
        ):
            raise RpcError(_INVALID_PARAMS, f"taskIds must be a list of at most {_MOST_HEARD} task ids.")
        if not _declares_tasks(self._asked):
            raise undeclared()
        agreed = [task_id for task_id in dict.fromkeys(wanted) if await self._state(task_id) is not None]
        self._ids = frozenset(agreed)
        return agreed

    def changed(self, held: Held) -> None:
        """Tell of a task that stands otherwise than before, if it is one of those."""
        if held.record.id in self._ids:
            telling = asyncio.ensure_future(self._tell_of(held.record.id))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        """Tell of nothing more."""
        telling = list(self._telling)
        for each in telling:
            each.cancel()
        await asyncio.gather(*telling, return_exceptions=True)

    async def _tell_of(self, task_id: str) -> None:
        state = await self._state(task_id)
        if state is not None:
            self._tell(_NEWS, {name: value for name, value in state.items() if name != "resultType"})

    async def _state(self, task_id: str) -> Mapping[str, Any] | None:
        """Return how a task stands, as far as the client may know it; whatever is refused is on record."""
        params = {"taskId": task_id, "_meta": self._asked.params.get("_meta")}
        try:
            return (await self._desk.answer(replace(self._asked, method=GET_TASK, params=params))).result
        except (RpcError, GatewayError):
            return None


def undeclared() -> RpcError:
    """Return the refusal of whoever asks about tasks without declaring the extension."""
    required: Mapping[str, Any] = {"extensions": {TASKS_EXTENSION: {}}}
    data = {"requiredCapabilities": required}
    return RpcError(_MISSING_CAPABILITY, "Missing required client capability", data=data)


def _speaks_of(asked: Asked, form: Form) -> bool:
    """Tell whether the method is one of this form of tasks, which the client's era knows."""
    if form is MODERN:
        return asked.method in _OF_MODERN
    return asked.method in _OF_LEGACY and asked.caller.era >= LEGACY_TASKS_SINCE


def _form_of(asked: Asked) -> Form:
    return MODERN if asked.caller.era in MODERN_VERSIONS else LEGACY


def _declares_tasks(asked: Asked) -> bool:
    return TASKS_EXTENSION in asked.back.declares.get("extensions", {})
