"""Tools that a server carries out only as tasks, for a client that cannot ask for one or follow it: waited for.

`tasks/result` answers, once the task is over, what the call itself would have been answered (2025-11-25, Tasks); in the
extension to 2026-07-28 `tasks/get` brings that along, and has the questions of the server on the way.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from connectors.mcp.connection import Connection
from connectors.mcp.era import Era
from connectors.mcp.errand import Errand
from connectors.mcp.inputs import answers_to
from connectors.mcp.request import TASKS_EXTENSION, TOOL_CALL
from connectors.mcp.wire import RpcError, SessionLost
from gateway.connector import Clock, ConnectorFault, TimedOut

__all__ = ["as_task", "refused_without", "waited_for"]

_GET: Final = "tasks/get"
_UPDATE: Final = "tasks/update"
_RESULT: Final = "tasks/result"
_CANCEL: Final = "tasks/cancel"
_RELATED: Final = "io.modelcontextprotocol/related-task"
_CANCEL_S: Final = 2.0
_MISSING_CAPABILITY: Final = -32021
_UNKNOWN: Final = frozenset({-32602, -32601, -32002})
"""What servers say of a task that they do not know, or when they no longer know any."""

_PAUSE_MS: Final = (250, 5_000, 60_000)
"""The shortest pause between two questions how a task stands, that where its server names none, and the longest."""


def as_task(era: Era, errand: Errand) -> bool:
    """Tell whether a call has to go to a legacy server as a task, though its client did not ask for one and cannot.

    One of 2025-11-25 can: it is told what its server says to a call that asks for none.
    """
    call = errand.call
    if era.modern or call.method != TOOL_CALL or call.back.begins_tasks or "task" in call.more:
        return False
    execution = (errand.told or {}).get(call.tool, {}).get("execution")
    required = isinstance(execution, Mapping) and execution.get("taskSupport") == "required"
    return required and isinstance(era.offer.capabilities.get("tasks"), Mapping)


def refused_without(error: RpcError, errand: Errand) -> bool:
    """Tell whether a modern server has refused a call unread because its client, of another era, follows no tasks."""
    if error.code != _MISSING_CAPABILITY or errand.waits or errand.call.back.takes_input_required:
        return False
    required = error.data.get("requiredCapabilities") if isinstance(error.data, dict) else None
    extensions = required.get("extensions") if isinstance(required, dict) else None
    return isinstance(extensions, dict) and [*extensions] == [TASKS_EXTENSION]


async def waited_for(
    connection: Connection, errand: Errand, begun: Mapping[str, Any], clock: Clock
) -> Mapping[str, Any]:
    """Return the result of the task that `begun` names; it is called off where nobody waits for it any longer.

    Raises:
        ConnectorFault: it ended otherwise, or not in time.
        RpcError: the server refuses, or it failed.
    """
    era = connection.era
    task = begun if era is not None and era.modern else begun.get("task")
    task_id = task.get("taskId") if isinstance(task, Mapping) else None
    if task_id is None and "content" in begun:
        return begun  # the result, at once
    if not isinstance(task_id, str) or era is None:
        raise ConnectorFault("The server answered a call that it makes a task of with none.", code="contract_broken")
    wait = _Wait(connection, errand, era, task_id)
    try:
        result = await (wait.followed(begun, clock) if era.modern else wait.ask(_RESULT))
    except (TimedOut, asyncio.CancelledError):
        await asyncio.shield(wait.called_off())
        raise
    except RpcError as error:  # its task's own error, unless nobody can say any more what came of it
        if isinstance(error, SessionLost) or error.code in _UNKNOWN:
            raise ConnectorFault("The server no longer knows of the task that it made of the call.") from error
        raise
    if not isinstance(result, dict):
        raise ConnectorFault("The server's result is not an object.", code="contract_broken")
    return _unrelated(result)


class _Wait:
    """One task that is waited for."""

    def __init__(self, connection: Connection, errand: Errand, era: Era, task_id: str) -> None:
        self._wire = connection.wire
        self._errand = errand
        self._era = era
        self._task_id = task_id

    async def ask(self, method: str, more: Mapping[str, Any] | None = None, timeout_s: float | None = None) -> Any:
        """Return what the server answers about the task. Raises `RpcError`, `ConnectorFault`."""
        errand, era = self._errand, self._era
        params = era.params({"taskId": self._task_id, **(more or {})}, {}, errand.back if era.modern else None)
        left = errand.deadline.left() if timeout_s is None else timeout_s
        ear = errand if method == _RESULT else None
        return await self._wire.request(method, params, era.headers(method, self._task_id), left, ear)

    async def followed(self, task: Mapping[str, Any], clock: Clock) -> Any:
        """Return the result of a task of the extension, having asked how it stands as often as its server wants."""
        answered: set[str] = set()
        while True:
            await clock.sleep(min(_pause_s(task), self._errand.deadline.left()))
            if self._errand.deadline.left() <= 0.0:
                raise TimedOut("The server's task was not over in time.")
            task = await self.ask(_GET)
            if not isinstance(task, dict):
                raise ConnectorFault("The server's task is not an object.", code="contract_broken")
            match task.get("status"):
                case "completed":
                    return task.get("result")
                case "failed":
                    raise _failure(task.get("error"))
                case "cancelled":
                    raise ConnectorFault("The server called its task off.")
                case "input_required":
                    await self._answer(task, answered, clock)

    async def _answer(self, task: Mapping[str, Any], answered: set[str], clock: Clock) -> None:
        """Have the client answer what it was not asked yet, and pass that on."""
        said = task.get("inputRequests")
        questions: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        new = {name: each for name, each in questions.items() if name not in answered}
        if not new:
            return
        answered.update(new)
        await self.ask(_UPDATE, await answers_to({"inputRequests": new}, self._errand.put, 0, clock))

    async def called_off(self) -> None:
        """Call the task off; never raises."""
        try:
            await self.ask(_CANCEL, timeout_s=_CANCEL_S)
        except (ConnectorFault, RpcError):
            return  # it ends by itself, when its time is over


def _pause_s(task: Mapping[str, Any]) -> float:
    shortest, usual, longest = _PAUSE_MS
    interval: Any = task.get("pollIntervalMs")
    return float(min(max(interval, shortest), longest) if type(interval) in {int, float} else usual) / 1000


def _failure(error: Any) -> RpcError:
    if isinstance(error, dict) and type(error.get("code")) is int:
        return RpcError(error["code"], str(error.get("message", "")), error.get("data"))
    return RpcError(-32603, "The server failed to carry the task out.")


def _unrelated(result: dict[str, Any]) -> Mapping[str, Any]:
    """Return a result without the name of the task, which means nothing to its client."""
    meta = result.get("_meta")
    if not isinstance(meta, dict) or _RELATED not in meta:
        return result
    kept = {name: value for name, value in meta.items() if name != _RELATED}
    return {name: value for name, value in {**result, "_meta": kept}.items() if name != "_meta" or kept}
