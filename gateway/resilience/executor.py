"""Carrying out one call: as often as it is safe, never longer than its deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from gateway.connector.credential import ITSELF, Behalf
from gateway.connector.measure import Measure
from gateway.connector.upstream import Begun, ToolCall, Upstream
from gateway.model.clock import Clock, IdSource
from gateway.model.errors import ConnectorFault, GatewayError, LimitFault, OutcomeUnknown
from gateway.model.tool import Tool
from gateway.resilience.breaker import Breaker, Turn
from gateway.resilience.breakers import Breakers, Passage
from gateway.resilience.bulkhead import Bulkhead
from gateway.resilience.config import ResilienceConfig
from gateway.resilience.hedge import Hedges, apart
from gateway.resilience.overseer import Overseer
from gateway.resilience.retry import backoff_s, cannot_double, in_doubt, repeatable

__all__ = ["Executor", "NoteAttempt"]

NoteAttempt = Callable[[Mapping[str, Any]], None]
"""Takes an attempt's record.

`n` counts from 1, `started_ms` is Unix time, `ms` how long it took, `code` is `ok`, `cancelled` or a fault's, `reason`
that fault's; `status` (HTTP) and `bytes` are what was answered, None where the connector does not tell. A second
attempt, made beside the first of the same `n`, has `hedge`; the one that lost is `cancelled`.
"""

_GRACE_S: Final = 1.0
_FAILURES: Final = frozenset({"unavailable", "timeout"})
_NO_NEWS: Final = frozenset({"cancelled", "rate_limited", "internal"})


@dataclass(frozen=True, slots=True)
class _Guard:
    server: str
    breakers: Breakers
    bulkhead: Bulkhead


@dataclass(slots=True)
class _Attempt:
    """One attempt: let through by its `turn`, over by `ends`, and `most_s` after it began unless it is the last."""

    n: int
    guard: _Guard
    breaker: Breaker | Passage
    call: ToolCall
    upstream: Upstream
    ends: float
    note: NoteAttempt
    started_ms: int = 0
    started: float = 0.0
    turn: Turn | None = None
    most_s: float | None = None
    hedge: bool = False


class _LeftAlone(ConnectorFault):
    """The breaker is open: trying again at once is what it is there to prevent."""


class Executor:
    """Makes the attempts of a call. Every server has a bulkhead and breakers of its own, one for each credential."""

    def __init__(self, clock: Clock, ids: IdSource, settings: ResilienceConfig | None = None) -> None:
        self._clock = clock
        self._ids = ids
        self._settings = settings or ResilienceConfig()
        self._most_attempts = self._settings.max_attempts
        self._guards: dict[str, _Guard] = {}
        self._overseer = Overseer()
        self._hedges = Hedges(clock)

    def breakers(self) -> Mapping[str, Breakers]:
        """Return the breakers of every server that was called."""
        return {server: guard.breakers for server, guard in self._guards.items()}

    async def execute(
        self, tool: Tool, call: ToolCall, upstream: Upstream, note: NoteAttempt = lambda record: None
    ) -> Mapping[str, Any]:
        """Return the tool's raw result. `call.timeout_s` bounds everything; `note` gets every attempt as it ends.

        Raises:
            ConnectorFault: the tool failed, and surely had no effect.
            OutcomeUnknown: an effect was asked for and, after some attempt, no usable answer came.
            LimitFault: the server has too many calls already; nothing was sent.
        """
        guard = self._guards.get(tool.server) or self._guard(tool.server)
        breaker = guard.breakers.for_calls(ITSELF if call.behalf is ITSELF else _scope(upstream, call.behalf))
        turn = breaker.ask()
        if isinstance(turn, float):
            raise _left_alone(guard.server, turn)
        clock, bulkhead = self._clock, guard.bulkhead
        started_ms, started = clock.now_ms(), clock.monotonic()
        asked = None
        if tool.hedge is None and tool.attempt_s is None and bulkhead.take_now():
            code = "internal"
            try:
                asked = upstream.call(call)
                if isinstance(asked, Begun):
                    try:
                        result = asked.result(await asked.answer)
                    except ConnectorFault:
                        result = None  # what is to be done about it is known where the call itself is awaited
                    except asyncio.CancelledError:
                        code = "cancelled"
                        asked.call_off()
                        raise
                    if result is not None:
                        code = "ok"
                        return result
                code = ""
            finally:
                if code:
                    bulkhead.give_back()
                    _tell(turn, code)
                    note(_took(1, started_ms, clock.monotonic() - started, code, call.measure))
        ends = started + call.timeout_s
        first = _Attempt(1, guard, breaker, call, upstream, ends, note, started_ms, started, turn)
        return await self._go_on(tool, first, asked)

    async def _go_on(
        self, tool: Tool, attempt: _Attempt, asked: Awaitable[Mapping[str, Any]] | None = None
    ) -> Mapping[str, Any]:
        """Make a first attempt, or see one through that has `asked` already, and then the others that are needed."""
        call = attempt.call
        most_s = tool.attempt_s if tool.attempt_s and repeatable(tool, call) else None
        hedge_s = None if tool.hedge is None else self._hedges.after_s(tool, call)
        doubt = False
        while True:
            attempt.most_s = most_s if attempt.n < self._most_attempts else None
            try:
                if hedge_s is None or attempt.n > 1:
                    return await self._attempt(attempt, asked)
                first, second = partial(self._attempt, attempt), partial(self._second, attempt)
                return await self._hedges.first_answer(tool, hedge_s, first, second)
            except (ConnectorFault, LimitFault) as fault:
                doubt = doubt or in_doubt(tool, fault)
                wait = self._wait_s(tool, call, fault, attempt)
                if wait is None and doubt:
                    raise _unknown(tool, call, fault) from fault
                if wait is None:
                    raise
            await self._clock.sleep(wait)
            attempt, asked = replace(attempt, n=attempt.n + 1, call=call, turn=None), None

    def _left(self, ends: float) -> float:
        return max(ends - self._clock.monotonic(), 0.0)

    def _guard(self, server: str) -> _Guard:
        guard = self._guards.get(server)
        if guard is None:
            settings = self._settings
            guard = _Guard(server, Breakers(self._clock, settings), Bulkhead(settings.concurrency, settings.queue))
            self._guards[server] = guard
        return guard

    def _begin(self, attempt: _Attempt) -> None:
        """Have the breaker let an attempt through. Raises `ConnectorFault` where it does not."""
        turn = attempt.breaker.ask()
        if isinstance(turn, float):
            raise _left_alone(attempt.guard.server, turn)
        attempt.turn = turn
        attempt.started_ms, attempt.started = self._clock.now_ms(), self._clock.monotonic()

    async def _attempt(self, attempt: _Attempt, asked: Awaitable[Mapping[str, Any]] | None = None) -> Mapping[str, Any]:
        """Make an attempt, or see it through where it has its place and has `asked` already."""
        if attempt.turn is None:
            self._begin(attempt)
        bulkhead = attempt.guard.bulkhead
        code, reason, heard = "internal", "", True
        try:
            if asked is None and not bulkhead.take_now():
                await bulkhead.take(self._left(attempt.ends))
            try:
                asked = asked or self._ask(attempt)
                result = await self._within_deadline(attempt.call, asked)
            finally:
                bulkhead.give_back()
            code = "ok"
        except GatewayError as fault:
            code, reason = fault.code, f"{fault.message} {fault.detail}".rstrip()
            heard = not isinstance(fault, ConnectorFault) or fault.sent or code in _FAILURES
            raise
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        finally:
            self._end(attempt, code, reason, heard=heard)
        return result

    def _ask(self, attempt: _Attempt) -> Awaitable[Mapping[str, Any]]:
        """Have the upstream called, in the time that is left."""
        left = self._left(attempt.ends)
        attempt.call = replace(attempt.call, timeout_s=left if attempt.most_s is None else min(left, attempt.most_s))
        attempt.call.measure.begin()
        return attempt.upstream.call(attempt.call)

    def _end(self, attempt: _Attempt, code: str, reason: str = "", *, heard: bool = True) -> None:
        """Tell the breaker, and note, how an attempt ended."""
        assert attempt.turn is not None
        _tell(attempt.turn, code, heard=heard)
        took = _took(
            attempt.n, attempt.started_ms, self._clock.monotonic() - attempt.started, code, attempt.call.measure
        )
        took["reason"] = reason
        if attempt.hedge:
            took["hedge"] = True
        attempt.note(took)

    async def _second(self, first: _Attempt) -> Mapping[str, Any]:
        """Make an attempt beside the first, where a place is free that nobody waits for and the client is not asked."""
        if first.call.back.was_asked or not first.guard.bulkhead.has_room:
            raise LimitFault("It is not asked a second time now.")
        return await self._attempt(replace(first, call=apart(first.call), turn=None, hedge=True))

    async def _within_deadline(self, call: ToolCall, asked: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Connectors keep the deadline and say more when it passes; this only catches one that does not."""
        wait = self._overseer.begin(call.timeout_s + _GRACE_S, call.back)
        before = wait.task.cancelling()
        try:
            return await asked
        except TimeoutError as error:
            raise _late() from error
        except asyncio.CancelledError as error:
            if wait.passed and wait.task.uncancel() <= before:
                raise _late() from error
            raise
        finally:
            self._overseer.end(wait)
            del wait  # its task may end with a fault that knows this frame, and would be kept by it

    def _wait_s(self, tool: Tool, call: ToolCall, fault: GatewayError, attempt: _Attempt) -> float | None:
        """Return how long to wait before the next attempt, in seconds, or None if there must be none."""
        if not isinstance(fault, ConnectorFault) or isinstance(fault, _LeftAlone) or not fault.retryable:
            return None
        settings = self._settings
        if attempt.n >= settings.max_attempts or not cannot_double(tool, call, fault):
            return None
        wait = backoff_s(attempt.n, settings.backoff_base_s, settings.backoff_cap_s, self._ids.fraction())
        wait = max(wait, fault.retry_after_s or 0.0)
        return wait if wait < self._left(attempt.ends) else None


def _tell(turn: Turn, code: str, *, heard: bool = True) -> None:
    """Tell a breaker how what it let through has ended."""
    if code in _NO_NEWS or not heard:  # what never left tells of the server only that it cannot be reached
        turn.forget()
    else:
        turn.record(code in _FAILURES)


def _took(n: int, started_ms: int, seconds: float, code: str, measure: Measure) -> dict[str, Any]:
    """Return the record of an attempt, without a reason."""
    return {
        "n": n,
        "started_ms": started_ms,
        "ms": int(seconds * 1000),
        "code": code,
        "reason": "",
        "status": measure.status,
        "bytes": measure.received,
    }


def _scope(upstream: Upstream, behalf: Behalf) -> Behalf:
    """Return what of `behalf` the server is shown."""
    try:
        return upstream.concerning(behalf)
    except ConnectorFault:
        return ITSELF  # nothing will be sent: the call itself says why


def _left_alone(server: str, wait_s: float) -> _LeftAlone:
    return _LeftAlone(f"{server} has failed too often and is left alone for now.", retry_after_s=wait_s, sent=False)


def _late() -> ConnectorFault:
    return ConnectorFault("The tool's server did not answer in time.", code="timeout")


def _unknown(tool: Tool, call: ToolCall, fault: GatewayError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{tool.name} was sent, but no usable answer came: it may or may not have happened (#{call.call_id}). "
        "Do not repeat it blindly; look up whether it happened, or have a person settle it.",
        detail=f"{fault.code}: {fault.detail or fault.message}",
        retry_after_s=fault.retry_after_s,
    )
