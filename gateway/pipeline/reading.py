"""How reads are answered: from what was answered before, by their tool, or by what stands in for it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

from gateway.cache.results import Fetched, ResultCache
from gateway.model.answers import LAST_ANSWER, Fallback, Label, Source
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault, GatewayError
from gateway.model.operation import TOOL_CALL
from gateway.model.tool import Effect, Tool
from gateway.pause.pauses import Pauses
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.stages.check import breach, is_incomplete, labels_of, tool_breach
from gateway.pipeline.stages.claim import makes_step
from gateway.pipeline.stages.redact import masked_fields
from gateway.policy import decide, decision_input
from gateway.redaction.redactor import Redactor

__all__ = ["Reading", "Send", "Sent"]

_UNREACHABLE: Final = frozenset({"unavailable", "timeout"})


class Sent(NamedTuple):
    """What a server answered; `alone` where it is an answer for the client of this very call."""

    result: Mapping[str, Any]
    alone: bool = False


Send = Callable[[Call, Tool, Mapping[str, Any], float], Awaitable[Sent]]
"""Has a tool called for a call, with these arguments, in so many seconds."""


class _Unusable(Exception):
    """A fallback cannot answer this call; the text says why."""


class _Time:
    """A call's one deadline, shared out evenly among those who may still be asked: the tool, then its fallbacks."""

    def __init__(self, clock: Clock, tool: Tool) -> None:
        self._clock = clock
        self._ends = clock.monotonic() + tool.deadline_s
        self._asked = 1 + sum(fallback.tool != LAST_ANSWER for fallback in tool.answers.fallbacks)

    def share_s(self, tool: Tool) -> float:
        """Return how long the next one may take, `tool`."""
        share = max(self._ends - self._clock.monotonic(), 0.0) / self._asked
        self._asked -= 1
        return min(share, tool.deadline_s)


@dataclass(frozen=True, slots=True)
class Reading:
    """Answers reads. What it is given by `send` is checked by whoever asks, what stands in for it is checked here."""

    cache: ResultCache
    rules: RulesInForce
    pauses: Pauses
    redactor: Redactor
    clock: Clock

    async def read(self, call: Call, send: Send) -> tuple[Mapping[str, Any], Source | None]:
        """Return the answer to a call of a read, and its source unless the tool gave it to this very call.

        A call that makes a step is not answered from the cache: a step says that the tool was called.

        Raises:
            GatewayError: as `send`, where nothing stands in.
        """
        declared = call.tool.answers
        cached = None if call.request.more or makes_step(call) else declared.caching
        time = _Time(self.clock, call.tool) if declared.fallbacks and not call.request.more else None
        seconds = call.tool.deadline_s if time is None else time.share_s(call.tool)
        try:
            if cached is None:
                return (await send(call, call.tool, call.arguments, seconds)).result, None
            return await self.cache.read(call, cached, partial(self._fetched, call, send, seconds))
        except ConnectorFault as fault:
            if fault.code not in _UNREACHABLE or time is None:
                raise
            found = await self._instead(call, fault, send, time)
            if found is None:
                raise
            return found

    async def _fetched(self, call: Call, send: Send, seconds: float) -> Fetched:
        sent = await send(call, call.tool, call.arguments, seconds)
        shared = not sent.alone and sent.result.get("resultType", "complete") == "complete"
        return Fetched(sent.result, shared=shared, kept=shared and _is_whole(call, sent.result))

    async def _instead(
        self, call: Call, fault: ConnectorFault, send: Send, time: _Time
    ) -> tuple[Mapping[str, Any], Source] | None:
        """Return what the first fallback answers that can; why the others cannot stands among the attempts."""
        for fallback in call.tool.answers.fallbacks:
            try:
                if fallback.tool == LAST_ANSWER:
                    result, source = self._last(call, fallback)
                else:
                    result, source = await self._other(call, fallback, send, time)
            except _Unusable as why:
                _note(call, fallback, "unusable", str(why))
            except GatewayError as error:
                _note(call, fallback, error.code, error.message)
            else:
                return result, replace(source, fallback=fallback.tool, because=fault.code)
        return None

    def _last(self, call: Call, fallback: Fallback) -> tuple[Mapping[str, Any], Source]:
        caching = call.tool.answers.caching
        if caching is None or makes_step(call):
            raise _Unusable("a step says that the tool was called")
        found = self.cache.last(call, caching, fallback.within_ms)
        if found is None:
            raise _Unusable("there is no answer that is new enough")
        return found[0], replace(found[1], labels=(Label.STALE,))

    async def _other(self, call: Call, fallback: Fallback, send: Send, time: _Time) -> tuple[Mapping[str, Any], Source]:
        tool = self.rules.current.catalog.find(fallback.tool)
        seconds = time.share_s(tool or call.tool)
        if tool is None or tool.quarantined or tool.effect is not Effect.READ or tool.method != TOOL_CALL:
            raise _Unusable("it is no read that can be called")
        self.pauses.check_tool(tool)
        arguments = call.arguments if fallback.arguments is None else fallback.arguments(call.arguments)
        if broken := tool.breaks_input(arguments):
            raise _Unusable(f"its arguments would break its schema: {broken}")
        masked = self._permitted(call, tool, arguments)
        if not seconds:
            raise _Unusable("no time is left to ask it")
        result = (await send(call, tool, arguments, seconds)).result
        if result.get("isError") is True or result.get("resultType", "complete") != "complete":
            raise _Unusable("it answered with an error")
        if broken := tool_breach(tool, result):
            raise _Unusable(f"its answer breaks its contract: {broken}")
        labels = labels_of(tool, result, self.clock)
        made = self.redactor.deliver(result, fields=masked)  # by its own names, before they are changed
        if fallback.result is not None:
            try:
                made = fallback.result(made)
            except ValueError as error:
                raise _Unusable(f"its answer cannot be adapted: {error}") from None
        if broken := tool_breach(call.tool, made):
            raise _Unusable(f"its answer would break the contract of {call.tool.name}: {broken}")
        return made, Source(labels=labels)

    def _permitted(self, call: Call, tool: Tool, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Return which fields of the other tool's answer are masked for this agent. No step is made or looked back at.

        Raises:
            _Unusable: no policy lets the agent call it.
        """
        facts = replace(call.facts, priors={}, approval=None)
        decision = decide(call.bundle, decision_input(call.bundle, call.identity, tool, arguments, facts))
        if not decision.allowed:
            raise _Unusable(f"the agent may not call it: {decision.message}")
        return masked_fields(decision)


def _is_whole(call: Call, result: Mapping[str, Any]) -> bool:
    """Tell whether a result may be given to others as well: no error, nothing broken, nothing left out."""
    return result.get("isError") is not True and not breach(call, result) and not is_incomplete(call.tool, result)


def _note(call: Call, fallback: Fallback, code: str, reason: str) -> None:
    call.attempts.append({"fallback": fallback.tool, "code": code, "reason": reason})
