"""Carrying out one call: as often as it is safe, never longer than its deadline."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from gateway.connector.credential import ITSELF, Behalf
from gateway.connector.upstream import ToolCall, Upstream
from gateway.model.clock import Clock, IdSource
from gateway.model.errors import ConnectorFault, GatewayError, LimitFault, OutcomeUnknown
from gateway.model.light import light
from gateway.model.tool import Tool
from gateway.resilience.breaker import Breaker
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


@light
@dataclass(frozen=True, slots=True)
class _Attempt:
    n: int
    breaker: Breaker | Passage
    ends: float
    note: NoteAttempt
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
        ends = self._clock.monotonic() + call.timeout_s
        guard = self._guard(tool.server)
        breaker = guard.breakers.for_calls(ITSELF if call.behalf is ITSELF else _scope(upstream, call.behalf))
        most_s = tool.attempt_s if tool.attempt_s and repeatable(tool, call) else None
        hedge_s = None if tool.hedge is None else self._hedges.after_s(tool, call)
        doubt, number = False, 0
        while True:
            number += 1
            attempt = _Attempt(number, breaker, ends, note, most_s if number < self._most_attempts else None)
            try:
                if hedge_s is None or number > 1:
                    return await self._attempt(guard, call, upstream, attempt)
                first = partial(self._attempt, guard, call, upstream, attempt)
                second = partial(self._second, guard, call, upstream, attempt)
                return await self._hedges.first_answer(tool, hedge_s, first, second)
            except (ConnectorFault, LimitFault) as fault:
                doubt = doubt or in_doubt(tool, fault)
                wait = self._wait_s(tool, call, fault, attempt)
                if wait is None and doubt:
                    raise _unknown(tool, call, fault) from fault
                if wait is None:
                    raise
            await self._clock.sleep(wait)

    def _left(self, ends: float) -> float:
        return max(ends - self._clock.monotonic(), 0.0)

    def _guard(self, server: str) -> _Guard:
        guard = self._guards.get(server)
        if guard is None:
            settings = self._settings
            guard = _Guard(server, Breakers(self._clock, settings), Bulkhead(settings.concurrency, settings.queue))
            self._guards[server] = guard
        return guard

    async def _attempt(self, guard: _Guard, call: ToolCall, upstream: Upstream, attempt: _Attempt) -> Mapping[str, Any]:
        started_ms, started = self._clock.now_ms(), self._clock.monotonic()
        if isinstance(turn := attempt.breaker.ask(), float):
            raise _left_alone(guard.server, turn)
        code, reason, heard = "internal", "", True
        call.measure.begin()
        try:
            if waits := not guard.bulkhead.take_now():
                await guard.bulkhead.take(self._left(attempt.ends))
            try:
                # else nothing has used up any of its time
                if waits or attempt.n > 1 or attempt.hedge or attempt.most_s is not None:
                    left = self._left(attempt.ends)
                    call = replace(call, timeout_s=left if attempt.most_s is None else min(left, attempt.most_s))
                raw = await self._within_deadline(upstream, call)
            finally:
                guard.bulkhead.give_back()
            code = "ok"
        except GatewayError as fault:
            code, reason = fault.code, f"{fault.message} {fault.detail}".rstrip()
            heard = not isinstance(fault, ConnectorFault) or fault.sent or code in _FAILURES
            raise
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        finally:
            if code in _NO_NEWS or not heard:  # what never left tells of the server only that it cannot be reached
                turn.forget()
            else:
                turn.record(failed=code in _FAILURES)
            took_ms = int((self._clock.monotonic() - started) * 1000)
            took = {"n": attempt.n, "started_ms": started_ms, "ms": took_ms, "code": code, "reason": reason}
            if attempt.hedge:
                took["hedge"] = True
            took["status"], took["bytes"] = call.measure.status, call.measure.received
            attempt.note(took)
        return raw

    async def _second(self, guard: _Guard, call: ToolCall, upstream: Upstream, attempt: _Attempt) -> Mapping[str, Any]:
        """Make an attempt beside the first, where a place is free that nobody waits for and the client is not asked."""
        if call.back.was_asked or not guard.bulkhead.has_room:
            raise LimitFault("It is not asked a second time now.")
        return await self._attempt(guard, apart(call), upstream, replace(attempt, hedge=True))

    async def _within_deadline(self, upstream: Upstream, call: ToolCall) -> Mapping[str, Any]:
        """Connectors keep the deadline and say more when it passes; this only catches one that does not."""
        wait = self._overseer.begin(call.timeout_s + _GRACE_S, call.back)
        before = wait.task.cancelling()
        try:
            return await upstream.call(call)
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
