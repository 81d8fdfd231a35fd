"""Stage 8: have the server do it."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from gateway.connector.pool import Upstreams
from gateway.connector.upstream import ToolCall
from gateway.ledger.keys import sent_key
from gateway.model.answers import PLAIN
from gateway.model.back import NOBODY
from gateway.model.call import Call
from gateway.model.errors import ConnectorFault, GatewayError
from gateway.model.light import maker
from gateway.model.tool import Effect, Tool
from gateway.pipeline.asking import Asking
from gateway.pipeline.flights import Flights, Passenger, Raw
from gateway.pipeline.reading import Reading, Sent
from gateway.pipeline.related import Related
from gateway.pipeline.sending import behalf_of, passed_meta, task_id_of
from gateway.resilience.executor import Executor
from gateway.task.forms import LEGACY

__all__ = ["Execute", "OwnTool", "nothing_more"]

_tool_call: Final = maker(ToolCall)
_passenger: Final = maker(Passenger)
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

    def __call__(self, call: Call) -> Coroutine[Any, Any, None]:
        call.attempts = []
        tool = call.tool
        own = self._own.get(tool.name) or self._own.get(tool.method)
        if own is not None:
            return self._carried_out(call, own)
        if tool.effect is not Effect.READ:
            return self._written(call)
        return self._read(call) if tool.answers is PLAIN and not call.request.more else self._answered(call)

    async def _carried_out(self, call: Call, own: OwnTool) -> None:
        try:
            call.raw = await own(call)
        except ConnectorFault as fault:
            raise await self._asking.vetted(call, fault) from fault.__cause__

    async def _written(self, call: Call) -> None:
        cache, tool = self._reading.cache, call.tool
        cache.wrote(tool)
        try:
            asked = self._asked(call, tool, call.arguments, tool.deadline_s)
            raw = await self._executor.execute(tool, asked, self._upstreams.get(tool.server), call.attempts.append)
            if raw.get("resultType", "complete") != "complete":
                await self._questioned(call, raw)
            call.raw = raw
        except ConnectorFault as fault:
            raise await self._asking.vetted(call, fault) from fault.__cause__
        finally:
            cache.wrote(tool)  # what was read meanwhile may be what was there before

    async def _read(self, call: Call) -> None:
        """Make a read, or share one that another agent makes in this run for the same user."""
        identity, tool = call.identity, call.tool
        key = call.facts.run.id, tool.name, tool.version, call.arguments_digest, identity.on_behalf_of, identity.issuer
        told = partial(self._asking.told, call)
        passenger = _passenger(key=key, who=identity.agent, call_id=call.id, told=told)
        answer: Raw | GatewayError | None = None
        try:
            if not self._flights.leads(passenger) and (found := await self._flights.shared(passenger)) is not None:
                call.raw, made_by = found
                call.attempts.append({"n": 0, "code": "shared", "reason": f"#{made_by}"})
                return
            asked = self._asked(call, tool, call.arguments, tool.deadline_s)
            raw = await self._executor.execute(tool, asked, self._upstreams.get(tool.server), call.attempts.append)
            if raw.get("resultType", "complete") != "complete":
                await self._questioned(call, raw)
            elif not asked.back.was_asked:
                answer = raw
            call.raw = raw
        except GatewayError as fault:
            answer = fault
            if isinstance(fault, ConnectorFault):
                raise await self._asking.vetted(call, fault) from fault.__cause__
            raise
        finally:
            self._flights.land(passenger, answer)
            del answer  # a fault knows this frame, and would be kept by it

    async def _answered(self, call: Call) -> None:
        """Answer a read of which the operator has declared how, or that carries on an earlier one."""
        try:
            raw, source = await self._reading.read(call, self._sent)
        except ConnectorFault as fault:
            raise await self._asking.vetted(call, fault) from fault.__cause__
        if source is not None:
            call.source = source
        call.raw = raw

    async def _sent(self, call: Call, tool: Tool, arguments: Mapping[str, Any], timeout_s: float) -> Sent:
        """Have a tool called: the call's own, or one that stands in for it and can ask its client nothing."""
        own = tool is call.tool
        asked = self._asked(call, tool, arguments, timeout_s)
        attempts = call.attempts
        note = attempts.append if own else lambda attempt: attempts.append({**attempt, "fallback": tool.name})
        raw = await self._executor.execute(tool, asked, self._upstreams.get(tool.server), note)
        if own:
            await self._questioned(call, raw)
        return Sent(raw, asked.back.was_asked)

    async def _questioned(self, call: Call, raw: Mapping[str, Any]) -> None:
        """Have what a server asks, which the client is asked with its answer, decided. Raises `ConnectorFault`."""
        if raw.get("resultType") == "input_required":
            await self._asking.vet(call, raw.get("inputRequests"))

    def _asked(self, call: Call, tool: Tool, arguments: Mapping[str, Any], timeout_s: float) -> ToolCall:
        """Return what a server is asked for a call: of its own tool, or of one that stands in for that."""
        own = tool is call.tool
        back = self._asking.way(call) if own else NOBODY
        if own and call.as_task:
            back = Related(back, task_id_of(call.id))
        key, more = call.step_key, call.request.more
        return _tool_call(
            tool=tool.upstream_name,
            arguments=arguments,
            call_id=call.id,
            timeout_s=timeout_s,
            idempotency_key=None if key is None or not own else sent_key(tool, call.identity.agent, key),
            meta=passed_meta(call),
            back=back,
            method=tool.method,
            more=_more(call, own) if more or call.as_task else more,
            behalf=behalf_of(call),
        )
