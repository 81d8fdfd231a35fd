"""What a run has recorded when its caller begins it anew: which of it is repeated, and where the caller strays."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.ledger.forking import Origin, origin_in
from gateway.model.call import Call
from gateway.model.facts import Expected, RunRef, StepStatus
from gateway.model.task import TASK_METHODS
from gateway.model.tool import Effect
from gateway.store.bodies import load
from gateway.store.imports import IMPORTED
from gateway.store.ports import Event, EventFilter, EventKind, Ledger, Recorded
from gateway.store.runs import told_caller

__all__ = ["Recollection", "Recollections"]

_EVERYTHING: Final = 2**31 - 1
_CACHED: Final = 256
_GIVEN: Final = 10_000
_ENDS: Final = frozenset({EventKind.CALL_FINISHED, EventKind.CALL_SETTLED})


@dataclass(slots=True)
class _Step:
    """A recorded step: `keyed` where its step key finds it, `by` the call that it answered in this attempt.

    One `before` the run is of the run that it was forked from; `delivered` says that its answer arrived in this one.
    """

    n: int
    tool: str
    digest: str
    call_id: str
    keyed: bool
    before: bool = False
    by: str = ""
    delivered: bool = False


Answers = Callable[[_Step], bool]
"""Tells of a step that has answered a call already whether it answers another."""


class Recollection:
    """The steps a caller made in a run before it began anew, in their order, and how far it has repeated them.

    The nth identical call since then is the nth recorded one: parallel calls may come in any order.
    """

    def __init__(self, steps: Iterable[_Step], answered: Iterable[tuple[str, str]]) -> None:
        self._steps = OrderedDict((step.call_id, step) for step in steps)
        self._alike: dict[tuple[str, str], list[_Step]] = {}
        self._before: dict[tuple[str, str], list[_Step]] = {}
        for step in self._steps.values():
            if step.before:
                self._before.setdefault((step.tool, step.digest), []).append(step)
            elif not step.keyed:
                self._alike.setdefault((step.tool, step.digest), []).append(step)
        for call_id, by in answered:
            self.repeated(call_id, by)

    def __len__(self) -> int:
        return len(self._steps)

    def recalled(self, tool: str, digest: str, by: str) -> str:
        """Return the recorded read that the call `by` repeats, or nothing; each answers one call."""
        alike = self._alike.get((tool, digest), ())
        found = next((step for step in alike if step.by in {"", by}), None)
        if found is None:
            return ""
        found.by = by
        return found.call_id

    def begun_with(self, tool: str, digest: str, by: str, answers: Answers) -> _Step | None:
        """Return the step of the run this one was forked from that the call `by` repeats, and take it."""
        alike = self._before.get((tool, digest), ())
        found = next((step for step in alike if step.by in {"", by} or answers(step)), None)
        if found is not None:
            found.by = by
        return found

    def repeated(self, call_id: str, by: str) -> None:
        """Note that the call `by` repeated a recorded one."""
        step = self._steps.get(call_id)
        if step is not None:
            step.by = by

    def expected(self) -> Expected | None:
        """Return the first recorded step that was not repeated yet, or None where all were."""
        step = next((step for step in self._steps.values() if not step.by), None)
        return None if step is None else Expected(step.n, step.tool, step.call_id)


class Recollections:
    """Recollections of the runs that are gone through again just now.

    `apart` are servers whose tools are no steps, but for the tools `steps`.
    """

    def __init__(self, ledger: Ledger, apart: frozenset[str], steps: frozenset[str] = frozenset()) -> None:
        self._ledger = ledger
        self._apart = apart
        self._steps = steps
        self._held: OrderedDict[tuple[str, str, int], Recollection] = OrderedDict()
        self._given: OrderedDict[str, _Step] = OrderedDict()

    def is_apart(self, tool: str) -> bool:
        """Tell whether a tool's calls are no steps: they are never answered from the record.

        What is asked of a task is none either: how often it is asked says nothing of what was done.
        """
        server, _, method = tool.partition(".")
        return (server in self._apart and tool not in self._steps) or method in TASK_METHODS

    async def of(self, run: RunRef, who: str) -> Recollection:
        """Return what a caller may repeat of a run. Raises `StoreFault`."""
        place = (run.id, who, run.since)
        held = self._held.get(place)
        if held is None:
            read = await self._read(run, told_caller(who))
            held = self._held.setdefault(place, read)  # another call may have read it meanwhile, and gone on with it
        self._held.move_to_end(place)
        if len(self._held) > _CACHED:
            self._held.popitem(last=False)
        return held

    async def begun_with(self, recollection: Recollection, call: Call) -> Recorded | None:
        """Return the call of the run this one was forked from that `call` repeats. Raises `StoreFault`.

        Each answers one call. An effect answers again until its answer arrived, and where its tool is called once in a
        run; it does so although its answer is not kept, whereas such a read is made again. What was taken back since
        is made under another key.
        """
        tool = call.tool
        is_read = tool.effect is Effect.READ

        def answers(step: _Step) -> bool:
            return tool.once_per_run or not (is_read or step.delivered)

        step = recollection.begun_with(tool.name, call.arguments_digest, call.id, answers)
        if step is None:
            return None
        recorded = await self.call(step.call_id, whole=is_read)
        if is_read or recorded is None:
            return recorded
        if recorded.status is StepStatus.COMPENSATED and call.request.idempotency_key is not None:
            return None  # as its refusal says
        self._given[call.id] = step
        if len(self._given) > _GIVEN:
            self._given.popitem(last=False)
        return recorded

    def deliver(self, call_id: str, attempt: int) -> Awaitable[None]:
        """Note that the answer of a call arrived; of one that a fork was answered with, in the fork alone."""
        return self._ledger.deliver(call_id, attempt) if call_id not in self._given else self._arrived(call_id)

    async def _arrived(self, call_id: str) -> None:
        step = self._given.pop(call_id)
        step.delivered = step.delivered or step.by == call_id

    async def call(self, call_id: str, *, whole: bool = True) -> Recorded | None:
        """Return a recorded call, hash-checked; None where its `whole` answer is not kept. Raises `StoreFault`."""
        recorded = await self._ledger.made(call_id)
        if not whole:
            return recorded
        is_kept = recorded is not None and recorded.end_body is not None and "result" in recorded.end_body
        return recorded if is_kept else None

    async def _read(self, run: RunRef, who: tuple[str, str]) -> Recollection:
        steps: dict[str, _Step] = {}
        answered: list[tuple[str, str]] = []
        async for event in self._ledger.events(EventFilter(run_id=run.id, limit=_EVERYTHING)):
            origin = origin_in(event)
            if origin is not None:
                steps |= await self._before(origin, event.seq, who)
            if (event.agent, event.on_behalf_of) != who or self.is_apart(event.tool):
                continue
            body = load(event.body.encode())
            if event.kind is EventKind.CALL_COMPENSATED:  # its repeat is a new call
                steps.pop(event.call_id, None)
            elif event.kind in _ENDS:
                if body["ending"]["status"] == StepStatus.FAILED:
                    steps.pop(event.call_id, None)
            elif event.seq > run.since:
                answered += [(body["replayed_from"], event.call_id)] if "replayed_from" in body else []
            else:
                step = _step_in(event, body)
                if step is not None:
                    steps[event.call_id] = step
        for n, step in enumerate(steps.values(), 1):
            step.n = n
        return Recollection(steps.values(), answered)

    async def _before(self, origin: Origin, forked_seq: int, who: tuple[str, str]) -> dict[str, _Step]:
        """Return the steps that a fork begins with, as they stood when it was made."""
        steps: dict[str, _Step] = {}
        async for event in self._ledger.events(EventFilter(run_id=origin.run, limit=_EVERYTHING)):
            if event.seq > forked_seq or (event.agent, event.on_behalf_of) != who or self.is_apart(event.tool):
                continue
            body = load(event.body.encode())
            if event.kind in _ENDS and body["ending"]["status"] == StepStatus.FAILED:
                steps.pop(event.call_id, None)
            elif (
                event.seq <= origin.until_seq and (step := _step_in(event, body) or _repeat_in(event, body)) is not None
            ):
                steps.setdefault(step.call_id, replace(step, before=True))
        return steps


def _step_in(event: Event, body: Mapping[str, Any]) -> _Step | None:
    """Return the step that an event begins, or tells of as a whole."""
    if "undoes" in body:  # not the agent's own
        return None
    if event.kind is EventKind.CALL_CLAIMED:
        claim = body["claim"]
        return _Step(0, event.tool, claim["arguments_digest"], event.call_id, claim["step_key"] is not None)
    made = event.kind is EventKind.CALL_RECORDED and body.get("outcome") == "succeeded" and "replayed_from" not in body
    result = body.get("result")
    if not made or (isinstance(result, Mapping) and result.get("isError") is True):
        return None
    return _Step(0, event.tool, body.get("arguments_digest", ""), event.call_id, keyed=False)


def _repeat_in(event: Event, body: Mapping[str, Any]) -> _Step | None:
    """Return the step of an earlier attempt, or of another run, that a call was answered with.

    What another gateway says of that is not believed: it could name a call of anybody's here.
    """
    if body.get("outcome") != "succeeded" or "replayed_from" not in body or IMPORTED in body:
        return None
    return _Step(0, event.tool, body.get("arguments_digest", ""), body["replayed_from"], keyed=False)
