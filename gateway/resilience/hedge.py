"""Asking a second time while the first answer is still awaited: for reads that it was declared for, and no others."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.connector.measure import Measure
from gateway.connector.upstream import ToolCall
from gateway.model.back import Back
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault
from gateway.model.operation import TOOL_CALL
from gateway.model.tool import P95, Effect, Tool

__all__ = ["Attempt", "Hedges", "apart"]

_REMEMBERED: Final = 100
_FEWEST: Final = 20
"""So many calls of a tool must have been answered before it is known what is slow for it."""
_LEAVE_S: Final = 1.0
_NO_ANSWER: Final = frozenset({"unavailable", "timeout"})

Attempt = Callable[[], Awaitable[Mapping[str, Any]]]
"""Makes an attempt at a call."""


class Hedges:
    """Knows after how long a call is slow, and asks again for one that is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._took: dict[str, deque[float]] = {}

    def after_s(self, tool: Tool, call: ToolCall) -> float | None:
        """Return after how many seconds the call is to be asked a second time, or None where it is not to be.

        A request about a task, or one that carries on an earlier one, is never asked twice.
        """
        harmless = tool.effect is Effect.READ and tool.idempotent
        if not harmless or call.method != TOOL_CALL or call.more:
            return None
        return self._slow_s(tool.name) if tool.hedge == P95 else tool.hedge

    async def first_answer(self, tool: Tool, after_s: float, first: Attempt, second: Attempt) -> Mapping[str, Any]:
        """Return what is answered first, a refusal as well; whoever did not answer by then is called off.

        `second` is begun where `first` has not ended after `after_s`. One that could not be made, or was not answered,
        leaves the other to be waited for. Raises what `first` raises where neither is answered.
        """
        began = self._clock.monotonic()
        tasks = [asyncio.ensure_future(first())]
        try:
            if not await self._ends_within(tasks[0], after_s):
                tasks.append(asyncio.ensure_future(second()))
            result = await _answer_of(tasks)
        finally:
            await _call_off(tasks)
        if tool.hedge == P95:
            self._took.setdefault(tool.name, deque(maxlen=_REMEMBERED)).append(self._clock.monotonic() - began)
        return result

    def _slow_s(self, name: str) -> float:
        """Return the 95th percentile of how long the tool's last calls took; while too few are known, for ever."""
        took = sorted(self._took.get(name, ()))
        return took[len(took) * 95 // 100] if len(took) >= _FEWEST else float("inf")

    async def _ends_within(self, task: "asyncio.Future[Any]", seconds: float) -> bool:
        timer = asyncio.ensure_future(self._clock.sleep(seconds)) if seconds != float("inf") else None
        try:
            await asyncio.wait({task} if timer is None else {task, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if timer is not None:
                timer.cancel()
        return task.done()


class _Unheard(Back):
    """What the server of a second attempt is told of the client: the same, but nothing of it reaches the client."""

    def __init__(self, back: Back) -> None:
        self.capabilities = back.capabilities
        self.declares = back.declares
        self.lane = back.lane
        self.log_level = back.log_level
        self.takes_input_required = back.takes_input_required
        self.begins_tasks = back.begins_tasks


def apart(call: ToolCall) -> ToolCall:
    """Return the same call for a second attempt beside the first: measured by itself, and not heard by the client."""
    return replace(call, measure=Measure(), back=_Unheard(call.back))


async def _answer_of(tasks: "Sequence[asyncio.Future[Mapping[str, Any]]]") -> Mapping[str, Any]:
    left = set(tasks)
    while left:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done and _is_answer(task.exception(), of_first=task is tasks[0]):
                return task.result()
    return tasks[0].result()


def _is_answer(error: BaseException | None, *, of_first: bool) -> bool:
    if error is None:
        return True
    if isinstance(error, ConnectorFault):
        return error.sent and error.code not in _NO_ANSWER
    return of_first  # what keeps a second attempt from being made, or goes wrong in it, is no reason to end the first


async def _call_off(tasks: "Sequence[asyncio.Future[Mapping[str, Any]]]") -> None:
    late = {task for task in tasks if not task.done()}
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=_LEAVE_S)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # nobody is left to be told
