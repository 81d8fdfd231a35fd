"""What is asked of one task, carried out: how it stands, its result, an answer to its questions, its end."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from gateway.model.call import Call
from gateway.model.errors import ConnectorFault, GatewayError, LimitFault, RequestFault
from gateway.model.outcome import Failed, Outcome, Succeeded
from gateway.model.task import CANCEL_TASK, GET_TASK, TASK_RESULT, UPDATE_TASK
from gateway.pipeline.collecting import Collecting
from gateway.pipeline.parked import Parked
from gateway.pipeline.polling import Held, Polling
from gateway.pipeline.recalling import error_of
from gateway.pipeline.related import about_task, related
from gateway.pipeline.stages.execute import OwnTool
from gateway.pipeline.tasks import Tasks
from gateway.task.forms import LEGACY, MODERN, broken

__all__ = ["TaskRequests"]

_LOG: Final = logging.getLogger(__name__)
_PATIENCE_S: Final = 2.0
"""How long a server may take to ask what it says it needs to know."""

_ORPHANED: Final = (
    "It was called off: the gateway was restarted while the server waited for an answer, and it did not ask again."
)


class TaskRequests:
    """Carries out requests about `tasks` that were decided already.

    What is over is answered from the record, without its server.
    """

    def __init__(self, tasks: Tasks, polling: Polling, parked: Parked) -> None:
        self.tasks = tasks
        self.parked = parked
        self._polling = polling
        self.patience_s = _PATIENCE_S
        self._stopped = asyncio.Event()
        self._collecting: dict[str, tuple[Collecting, asyncio.Task[None]]] = {}

    @property
    def own_tools(self) -> Mapping[str, OwnTool]:
        """What carries a request out, by its method."""
        return {GET_TASK: self._get, TASK_RESULT: self._result, UPDATE_TASK: self._update, CANCEL_TASK: self._cancel}

    def stop(self) -> None:
        """Have nobody wait for the end of a task any longer: the gateway stops."""
        self._stopped.set()
        for _, conversing in self._collecting.values():
            conversing.cancel()

    async def _get(self, call: Call) -> Mapping[str, Any]:
        held = await self._about(call)
        seen = await self._look(held, call) if held.record.is_open else held.state
        if held.record.is_open:
            if held.form is MODERN and held.spoken is LEGACY and seen["status"] == "input_required":
                seen = {**seen, "inputRequests": await self._collected(held, call)}
                if held.orphaned and not seen["inputRequests"]:
                    await self._give_up(held, call)
                    return await self._get(call)
                held.orphaned = False
            elif held.form is MODERN and "inputRequests" in seen:
                await self._polling.vet(held, call, seen["inputRequests"])
            return {**related(seen, held.record.id), "taskId": held.record.id}
        if held.form is LEGACY:
            return held.state
        outcome = await self.tasks.outcome(held)
        if isinstance(outcome, Failed) and isinstance(outcome.error, ConnectorFault):
            outcome = Failed(await self._polling.vetted(call, outcome.error))
        return _with_end(held, outcome)

    async def _result(self, call: Call) -> Mapping[str, Any]:
        """Wait for the end of a task; its server may ask the client meanwhile what it needs to go on."""
        held = await self._about(call)
        while held.record.is_open and not self._stopped.is_set():
            await self._look(held, call)
            if held.record.is_open and held.state["status"] == "input_required" and call.request.back.capabilities:
                await (self._heard_out if held.spoken is LEGACY else self._relay)(held, call)
            elif held.record.is_open:
                await self._wait(held)
        if held.record.is_open:
            raise LimitFault("The gateway is stopping; the task goes on.", code="shutting_down", retry_after_s=5.0)
        outcome = await self.tasks.outcome(held)
        if not isinstance(outcome, Succeeded):
            raise outcome.error  # type: ignore[union-attr]  # a task's call is never denied, nor waits any more
        return outcome.result if held.record.body["upstream"] else about_task(outcome.result, held.record.id)

    async def _look(self, held: Held, call: Call) -> Mapping[str, Any]:
        if not held.awaits:
            return await self.tasks.look(held, call)
        await self.parked.look(held, call)
        return held.state

    async def _heard_out(self, held: Held, call: Call) -> None:
        """Have a legacy server ask, and end a task whose question was put to a process that is no more."""
        conversing = asyncio.ensure_future(self._converse(held, call))
        try:
            await asyncio.wait({conversing}, timeout=self.patience_s if held.orphaned else None)
            if conversing.done() or call.request.back.was_asked:
                held.orphaned = False
                await conversing
                return
        finally:
            conversing.cancel()
        await self._give_up(held, call)

    async def _give_up(self, held: Held, call: Call) -> None:
        """Call a task off that waits for an answer to what nobody knows any more, and end it where that is so."""
        _, conversing = self._collecting.get(held.record.id, (None, None))
        if conversing is not None:
            conversing.cancel()
        try:
            await self._polling.ask(held, CANCEL_TASK, call=call)
        except ConnectorFault:
            seen = await self.tasks.look(held, call)  # it may have ended meanwhile
            if not held.record.is_open or seen["status"] != "input_required":
                return
        await self.tasks.lost(held, _ORPHANED)

    async def _converse(self, held: Held, call: Call) -> None:
        """Ask for the result, on whose stream the server asks the client; nothing has ended where it takes too long."""
        await self.tasks.let_ask(held)
        try:
            raw = await self._polling.ask(held, TASK_RESULT, call=call)
        except ConnectorFault as fault:
            if fault.rpc is None and fault.code != "timeout":
                raise
            return
        await self.tasks.answered(held, raw)

    async def _relay(self, held: Held, call: Call) -> None:
        """Put a modern server's questions to a legacy client, and pass the answers on; each is asked once."""
        questions = held.questions if isinstance(held.questions, Mapping) else {}
        new = {name: each for name, each in questions.items() if name not in held.vetted}
        held.vetted.update(new)
        try:
            answers = {name: await self._polling.put(held, call, each) for name, each in new.items()}
            if answers:
                await self._polling.ask(held, UPDATE_TASK, {"inputResponses": answers}, call)
                held.changed.set()
        except BaseException:
            held.vetted.difference_update(new)
            raise
        await self._wait(held)

    async def _collected(self, held: Held, call: Call) -> Mapping[str, Any]:
        """Return the questions of a legacy server, which asks them while it is waited for the result."""
        collecting, conversing = self._collecting.get(held.record.id, (None, None))
        if collecting is None or conversing is None:
            collecting = Collecting(call.request.back)
            conversing = asyncio.ensure_future(self._converse(held, call.over(collecting)))
            self._collecting[held.record.id] = collecting, conversing
            conversing.add_done_callback(lambda done: self._collected_from(held, done))
        if not collecting.questions:
            asked = asyncio.ensure_future(collecting.asked.wait())
            await asyncio.wait({asked, conversing}, timeout=self.patience_s, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
        return collecting.questions

    def _collected_from(self, held: Held, done: "asyncio.Task[None]") -> None:
        self._collecting.pop(held.record.id, None)
        if done.cancelled() or (error := done.exception()) is None:
            return
        why = error.message if isinstance(error, GatewayError) else "it is a bug"
        trace = None if isinstance(error, GatewayError) else error
        _LOG.warning("%s of %s cannot be asked for its result: %s", held.record.id, held.server, why, exc_info=trace)

    async def _wait(self, held: Held) -> None:
        stopping, pausing = asyncio.ensure_future(self._stopped.wait()), asyncio.ensure_future(self.tasks.pause(held))
        try:
            await asyncio.wait({stopping, pausing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            pausing.cancel()

    async def _update(self, call: Call) -> Mapping[str, Any]:
        held = await self._about(call)
        if not held.record.is_open or held.awaits:
            return {}
        if held.spoken is LEGACY:
            collecting, _ = self._collecting.get(held.record.id, (None, None))
            if collecting is not None:
                collecting.answer(call.arguments["inputResponses"])
            return {}
        params = {name: value for name, value in call.arguments.items() if name != "taskId"}
        return _acknowledged(held, await self._polling.ask(held, UPDATE_TASK, params, call))

    async def _cancel(self, call: Call) -> Mapping[str, Any]:
        held = await self._about(call)
        if not held.record.is_open:
            if held.form is LEGACY:
                raise RequestFault("The task is over: there is nothing to call off.")
            return {}
        if held.awaits:
            await self.parked.cancel(held)
            return held.state if held.form is LEGACY else {}
        answer = await self._polling.ask(held, CANCEL_TASK, call=call)
        if held.spoken is LEGACY and not broken(answer):
            await self.tasks.heard(held, answer, call)
        elif held.form is LEGACY:
            await self.tasks.look(held, call)
        return held.state if held.form is LEGACY else _acknowledged(held, {} if held.spoken is LEGACY else answer)

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
