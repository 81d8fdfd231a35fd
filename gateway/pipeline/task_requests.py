"""What is asked of one task, carried out: how it stands, its result, an answer to its questions, its end."""

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.model.call import Call
from gateway.model.errors import ConnectorFault, LimitFault, RequestFault
from gateway.model.outcome import Outcome, Succeeded
from gateway.model.task import CANCEL_TASK, GET_TASK, TASK_RESULT, UPDATE_TASK
from gateway.pipeline.polling import Held, Polling
from gateway.pipeline.recalling import error_of
from gateway.pipeline.related import related
from gateway.pipeline.stages.execute import OwnTool
from gateway.pipeline.tasks import Tasks
from gateway.task.forms import LEGACY, MODERN, broken

__all__ = ["TaskRequests"]


class TaskRequests:
    """Carries out requests about `tasks` that were decided already.

    What is over is answered from the record, without its server.
    """

    def __init__(self, tasks: Tasks, polling: Polling) -> None:
        self.tasks = tasks
        self._polling = polling
        self._stopped = asyncio.Event()

    @property
    def own_tools(self) -> Mapping[str, OwnTool]:
        """What carries a request out, by its method."""
        return {GET_TASK: self._get, TASK_RESULT: self._result, UPDATE_TASK: self._update, CANCEL_TASK: self._cancel}

    def stop(self) -> None:
        """Have nobody wait for the end of a task any longer: the gateway stops."""
        self._stopped.set()

    async def _get(self, call: Call) -> Mapping[str, Any]:
        held = await self._about(call)
        seen = await self.tasks.look(held, call) if held.record.is_open else held.state
        if held.record.is_open:
            if held.form is MODERN and "inputRequests" in seen:
                await self._polling.vet(held, call, seen["inputRequests"])
            return {**related(seen, held.record.id), "taskId": held.record.id}
        return held.state if held.form is LEGACY else _with_end(held, await self.tasks.outcome(held))

    async def _result(self, call: Call) -> Mapping[str, Any]:
        """Wait for the end of a task; its server may ask the client meanwhile what it needs to go on."""
        held = await self._about(call)
        while held.record.is_open and not self._stopped.is_set():
            await self.tasks.look(held, call)
            if held.record.is_open and held.state["status"] == "input_required" and call.request.back.capabilities:
                await self._converse(held, call)
            elif held.record.is_open:
                await self._wait(held)
        if held.record.is_open:
            raise LimitFault("The gateway is stopping; the task goes on.", code="shutting_down", retry_after_s=5.0)
        outcome = await self.tasks.outcome(held)
        if not isinstance(outcome, Succeeded):
            raise outcome.error  # type: ignore[union-attr]  # a task's call is never denied, nor waits any more
        return outcome.result

    async def _converse(self, held: Held, call: Call) -> None:
        """Ask for the result, on whose stream the server asks the client; nothing has ended where it takes too long."""
        try:
            raw = await self._polling.ask(held, TASK_RESULT, call=call)
        except ConnectorFault as fault:
            if fault.rpc is None and fault.code != "timeout":
                raise
            return
        await self.tasks.answered(held, raw)

    async def _wait(self, held: Held) -> None:
        stopping, pausing = asyncio.ensure_future(self._stopped.wait()), asyncio.ensure_future(self.tasks.pause(held))
        try:
            await asyncio.wait({stopping, pausing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            pausing.cancel()

    async def _update(self, call: Call) -> Mapping[str, Any]:
        held = await self._about(call)
        if not held.record.is_open:
            return {}
        params = {name: value for name, value in call.arguments.items() if name != "taskId"}
        return _acknowledged(held, await self._polling.ask(held, UPDATE_TASK, params, call))

    async def _cancel(self, call: Call) -> Mapping[str, Any]:
        held = await self._about(call)
        if not held.record.is_open:
            if held.form is LEGACY:
                raise RequestFault("The task is over: there is nothing to call off.")
            return {}
        answer = await self._polling.ask(held, CANCEL_TASK, call=call)
        if held.form is LEGACY and not broken(answer):
            await self.tasks.heard(held, answer, call)
            return held.state
        return _acknowledged(held, answer)

    async def _about(self, call: Call) -> Held:
        assert call.request.task is not None
        held = await self.tasks.held(call.request.task.task_id)
        if held is None:  # forgotten since it was found
            raise RequestFault("There is no such task.")
        return held


def _acknowledged(held: Held, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a server says that took note of something; how its task stands now is asked at once."""
    held.changed.set()
    return related({name: value for name, value in answer.items() if name != "taskId"}, held.record.id)


def _with_end(held: Held, outcome: Outcome) -> Mapping[str, Any]:
    """Return how a task stands that is over, and with what it ended, as the extension has it."""
    if isinstance(outcome, Succeeded):
        return {**held.state, "status": "completed", "result": outcome.result}
    if held.state["status"] == "cancelled":
        return held.state
    error = outcome.error  # type: ignore[union-attr]  # a task's call is never denied, nor waits any more
    said = {"statusMessage": error.message, "error": error_of(error, held.record.call_id)}
    return {**held.state, "status": "failed", **said}
