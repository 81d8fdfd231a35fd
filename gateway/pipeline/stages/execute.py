"""Stage 8: have the server do it."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from gateway.connector.pool import Upstreams
from gateway.connector.upstream import ToolCall
from gateway.ledger.keys import sent_key
from gateway.model.answers import PLAIN
from gateway.model.back import NOBODY
from gateway.model.call import Call
from gateway.model.errors import ConnectorFault
from gateway.model.light import maker
from gateway.model.tool import Effect, Tool
from gateway.pipeline.asking import Asking
from gateway.pipeline.flights import Flights, Passenger
from gateway.pipeline.reading import Reading, Sent
from gateway.pipeline.related import Related
from gateway.pipeline.sending import behalf_of, passed_meta, task_id_of
from gateway.resilience.executor import Executor
from gateway.task.forms import LEGACY

__all__ = ["Execute", "OwnTool", "nothing_more"]

_tool_call: Final = maker(ToolCall)
OwnTool = Callable[[Call], Awaitable[Mapping[str, Any]]]
"""A tool the gateway itself offers, by its name, or a method that it carries out itself."""


async def nothing_more(call: Call) -> Mapping[str, Any]:
    """Answer what asked only whether it may."""
    del call
    return {}


def _more(call: Call, own: bool) -> Mapping[str, Any]:
    """Return the further params of a call, the wish for a task only where its server goes by it: others ignore it."""
    more = call.request.more
    if own and call.as_task == LEGACY.name:
        return more if "task" in more else {"task": {}}
    return {name: value for name, value in more.items() if name != "task"} if "task" in more else more


class Execute:
    """Sets `call.raw`, `call.attempts` and, for an answer that the tool did not give to this call, `call.source`.

    Retries, breaker and deadline are the executor's, questions `asking`'s, and how reads are answered is `reading`'s.
    """

    def __init__(
        self,
        executor: Executor,
        upstreams: Upstreams,
        own: Mapping[str, OwnTool],
        asking: Asking,
        reading: Reading,
    ) -> None:
        self._executor = executor
        self._reading = reading
        self._upstreams = upstreams
        self._own = own
        self._asking = asking
        self._flights = Flights()

    async def __call__(self, call: Call) -> None:
        call.attempts = []
        own = self._own.get(call.tool.name) or self._own.get(call.tool.method)
        try:
            if own is not None:
                call.raw = await own(call)
            elif call.tool.effect is not Effect.READ:
                call.raw = await self._written(call)
            elif call.tool.answers is PLAIN and not call.request.more:
                call.raw, made_by = await self._flights.fly(self._passenger(call), partial(self._asked, call))
                if made_by != call.id:
                    call.attempts.append({"n": 0, "code": "shared", "reason": f"#{made_by}"})
            else:
                raw, source = await self._reading.read(call, self._sent)
                if source is not None:
                    call.source = source
                call.raw = raw
        except ConnectorFault as fault:
            raise await self._asking.vetted(call, fault) from fault.__cause__

    def _passenger(self, call: Call) -> Passenger:
        """Return a read as one that waits for the same one that another agent makes in this run for the same user."""
        identity = call.identity
        what = (call.facts.run.id, call.tool.name, call.tool.version, call.arguments_digest)
        whom = identity.on_behalf_of, identity.issuer
        return Passenger((what, *whom), identity.agent, call.id, partial(self._asking.told, call))

    async def _written(self, call: Call) -> Mapping[str, Any]:
        self._reading.cache.wrote(call.tool)
        try:
            return (await self._asked(call)).result
        finally:
            self._reading.cache.wrote(call.tool)  # what was read meanwhile may be what was there before

    def _asked(self, call: Call) -> Awaitable[Sent]:
        return self._sent(call, call.tool, call.arguments, call.tool.deadline_s)

    async def _sent(self, call: Call, tool: Tool, arguments: Mapping[str, Any], timeout_s: float) -> Sent:
        """Have a tool called: the call's own, or one that stands in for it and can ask its client nothing."""
        own = tool is call.tool
        back = self._asking.way(call) if own else NOBODY
        if own and call.as_task:
            back = Related(back, task_id_of(call.id))
        asked = _tool_call(
            tool=tool.upstream_name,
            arguments=arguments,
            call_id=call.id,
            timeout_s=timeout_s,
            idempotency_key=sent_key(tool, call.identity.agent, call.step_key) if own else None,
            meta=passed_meta(call),
            back=back,
            method=tool.method,
            more=_more(call, own),
            behalf=behalf_of(call),
        )
        attempts = call.attempts
        note = attempts.append if own else lambda attempt: attempts.append({**attempt, "fallback": tool.name})
        raw = await self._executor.execute(tool, asked, self._upstreams.get(tool.server), note)
        if own and raw.get("resultType") == "input_required":
            await self._asking.vet(call, raw.get("inputRequests"))
        return Sent(raw, back.was_asked)
