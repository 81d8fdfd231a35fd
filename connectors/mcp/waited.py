"""Tools that a legacy server carries out only as tasks, for a client of an era without these: begun and waited for.

`tasks/result` answers, once the task is over, what the call itself would have been answered (2025-11-25, Tasks).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from connectors.mcp.connection import Connection
from connectors.mcp.era import Era
from connectors.mcp.errand import Errand
from connectors.mcp.request import TOOL_CALL
from connectors.mcp.wire import RpcError, SessionLost
from gateway.connector import ConnectorFault, TimedOut

__all__ = ["as_task", "waited_for"]

_RESULT: Final = "tasks/result"
_CANCEL: Final = "tasks/cancel"
_RELATED: Final = "io.modelcontextprotocol/related-task"
_CANCEL_S: Final = 2.0
_UNKNOWN: Final = frozenset({-32602, -32601, -32002})
"""What servers say of a task that they do not know, or when they no longer know any."""


def as_task(era: Era, errand: Errand) -> bool:
    """Tell whether a call has to go out as a task, though its client did not ask for one and cannot."""
    call = errand.call
    if era.modern or call.method != TOOL_CALL or not call.back.takes_input_required or "task" in call.more:
        return False
    execution = (errand.told or {}).get(call.tool, {}).get("execution")
    required = isinstance(execution, Mapping) and execution.get("taskSupport") == "required"
    return required and isinstance(era.offer.capabilities.get("tasks"), Mapping)


async def waited_for(connection: Connection, errand: Errand, begun: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the result of the task that `begun` names; it is called off where nobody waits for it any longer.

    Raises:
        ConnectorFault: it ended otherwise, or not in time.
        RpcError: the server refuses.
    """
    task, era = begun.get("task"), connection.era
    task_id = task.get("taskId") if isinstance(task, Mapping) else None
    if task is None and "content" in begun:
        return begun  # the result, at once
    if not isinstance(task_id, str) or era is None:
        raise ConnectorFault("The server answered a call that it makes a task of with none.", code="contract_broken")
    about = {"taskId": task_id}
    try:
        result = await connection.wire.request(
            _RESULT, era.params(about, {}), era.headers(_RESULT, task_id), errand.deadline.left(), errand.ear
        )
    except (TimedOut, asyncio.CancelledError):
        await asyncio.shield(_called_off(connection, era, about))
        raise
    except RpcError as error:  # its task's own error, unless nobody can say any more what came of it
        if isinstance(error, SessionLost) or error.code in _UNKNOWN:
            raise ConnectorFault("The server no longer knows of the task that it made of the call.") from error
        raise
    if not isinstance(result, dict):
        raise ConnectorFault("The server's result is not an object.", code="contract_broken")
    return _unrelated(result)


async def _called_off(connection: Connection, era: Era, about: Mapping[str, str]) -> None:
    headers = era.headers(_CANCEL, about["taskId"])
    try:
        await connection.wire.request(_CANCEL, era.params(about, {}), headers, _CANCEL_S)
    except (ConnectorFault, RpcError):
        return  # it ends by itself, when its time is over


def _unrelated(result: dict[str, Any]) -> Mapping[str, Any]:
    """Return a result without the name of the task, which means nothing to its client."""
    meta = result.get("_meta")
    if not isinstance(meta, dict) or _RELATED not in meta:
        return result
    kept = {name: value for name, value in meta.items() if name != _RELATED}
    return {name: value for name, value in {**result, "_meta": kept}.items() if name != "_meta" or kept}
