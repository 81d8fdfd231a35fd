"""Stage 7: the point of no return. One transaction takes the step key, uses up prior steps and writes the intent."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from gateway.budget.capped import capped
from gateway.budget.refusal import exceeded
from gateway.ledger.recorder import Recorder
from gateway.model.answers import Label
from gateway.model.call import Call
from gateway.model.errors import GatewayError, LimitFault, OutcomeUnknown, RequestFault, StoreFault, UnwritableError
from gateway.model.facts import StepStatus
from gateway.model.outcome import Failed, Outcome, Succeeded, Unknown
from gateway.model.tool import Effect
from gateway.pipeline.doubts import Doubts, is_repeatable
from gateway.pipeline.inflight import InFlight, again
from gateway.pipeline.parking import Parking
from gateway.pipeline.stages import DecideAgain, Step
from gateway.pipeline.stages.gather import lookup_for
from gateway.pipeline.stages.redact import delivered
from gateway.pipeline.tasks import Tasks
from gateway.redaction.redactor import Redactor
from gateway.resilience.owned import OwnedTasks
from gateway.store.ports import Claimed, ClaimVerdict, Recorded, StepUse

__all__ = ["Claim", "UnderWay", "makes_step"]

_LOG = logging.getLogger(__name__)
_READ: Final = Effect.READ
_MOST_UNSURE: Final = 1000
"""Claims that are looked for once the store can be read; of more at once, a restart ends what stands."""

_LEFT: Final = "The caller went away before the call was made."


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Where claimed calls are that have not ended: in this process, as tasks of their servers, or in doubt."""

    inflight: InFlight
    tasks: Tasks
    doubts: Doubts


class Claim:
    """Sets `call.intent`; stops with the recorded outcome when this step was made before, or where people are asked.

    And sets `call.takes_over` where the call it repeats is in doubt, and making it again cannot double anything.
    A read that consumes nothing, is charged to no budget, cannot become a task and that no precondition ever asks about
    skips the claim.
    """

    def __init__(
        self, recorder: Recorder, under_way: UnderWay, owned: OwnedTasks, redactor: Redactor, parking: Parking
    ) -> None:
        self._parking = parking
        self._doubts = under_way.doubts
        self._recorder = recorder
        self._under_way = under_way
        self._inflight = under_way.inflight
        self._owned = owned
        self._redactor = redactor
        self._unsure = 0

    def __call__(self, call: Call) -> Step:
        if not call.decision.allowed and call.request.task is None:
            return self._park(call)
        if call.recalled is not None:
            return self._from_record(call, call.recalled)
        call.charged = capped(call)
        if self._may_skip(call):
            call.intent = False
            return None
        return self._take(call)

    async def _park(self, call: Call) -> Outcome:
        if await self._recorder.stands(call):  # its twin used the approval a moment ago: be answered as it is
            raise DecideAgain
        return await self._parking.park(call)

    async def _take(self, call: Call) -> Outcome | None:
        self._inflight.begin(call.id)  # before the row is visible: a twin that finds it must be able to wait
        try:
            try:
                claimed = await self._recorder.claim(call, _uses(call))
            except StoreFault as fault:
                await self._ended_if_unsure(call, fault)
                raise
        except asyncio.CancelledError:
            call.intent = True  # from here on `_give_back` writes the ending
            self._owned.start(self._give_back(call, Failed(RequestFault(_LEFT, code="cancelled"))))
            raise
        except BaseException:
            if not (call.has("intent") and call.intent):
                self._inflight.end(call.id)
            raise
        if claimed.verdict is ClaimVerdict.CLAIMED:
            call.intent = True
            return None
        self._inflight.end(call.id)
        return await self._not_had(call, claimed)

    async def _ended_if_unsure(self, call: Call, fault: StoreFault) -> None:
        """Have what the disk kept of a claim that failed ended, for nothing was sent."""
        if not isinstance(fault, UnwritableError) and await self._may_stand(call):
            call.intent = True
            self._unsure += 1
            self._owned.start(self._end_unsure(call, Failed(fault)))

    async def _may_stand(self, call: Call) -> bool:
        """Tell whether a claim that failed is on record; where that cannot be told, whether it is worth looking."""
        try:
            return await self._recorder.knows(call)
        except StoreFault:
            return self._unsure < _MOST_UNSURE

    async def _end_unsure(self, call: Call, failed: Failed) -> None:
        try:
            await self._give_back(call, failed)
        finally:
            self._unsure -= 1

    async def _not_had(self, call: Call, claimed: Claimed) -> Outcome | None:
        match claimed.verdict:
            case ClaimVerdict.RECORDED if claimed.recorded is not None:
                return await self._from_record(call, claimed.recorded)
            case ClaimVerdict.CONFLICT:
                earlier = claimed.recorded.call_id if claimed.recorded else ""
                raise RequestFault(_conflict(call, earlier), code="idempotency_conflict", detail=earlier)
            case ClaimVerdict.SHORT:
                raise exceeded(claimed.short, call.charged.at_ms)
            case _:  # consumed or stale since gather: the facts say so now
                raise DecideAgain

    async def _give_back(self, call: Call, gone: Failed) -> None:
        """End a claim of which nobody knows whether it was written, if it was: nothing was sent."""
        recorded = is_due = False
        try:
            write = self._recorder.finish if await self._recorder.knows(call) else self._recorder.record
            await write(call, gone)
            recorded = True
        except GatewayError as error:  # nobody waits for this any more: the log is the only one to tell
            _LOG.error("call %s, of which nothing was sent, could not be recorded: %s", call.id, error.code)
            is_due = isinstance(error, StoreFault)
        finally:
            self._inflight.end(call.id, recorded=recorded)
        if is_due:
            await self._recorder.end_later(call, gone)

    @staticmethod
    def _may_skip(call: Call) -> bool:
        if call.request.task is not None:
            return True
        reads = call.tool.effect is _READ and not call.as_task
        return reads and not call.charged.charges and not makes_step(call)

    async def _in_doubt(self, call: Call, recorded: Recorded) -> Outcome | None:
        """End the doubt about the call that this one repeats, or make it again where that cannot double anything."""
        if await self._owned.run(self._doubts.look(recorded, call.arguments)):
            raise DecideAgain
        if self._inflight.carries(again(recorded.call_id)):  # another repeat is making it again
            await self._inflight.ended(again(recorded.call_id), call.tool.deadline_s)
            raise DecideAgain
        if is_repeatable(call.tool, call.step_key):
            self._inflight.begin(again(recorded.call_id))
            call.takes_over = recorded
            call.intent = True
            return None
        call.intent = False
        return Unknown(
            OutcomeUnknown(
                f"This call was sent before (#{recorded.call_id}) and its outcome is not known. It is not repeated: an "
                f"operator must settle it first (toolgate runs settle {recorded.call_id} succeeded|failed)."
            )
        )

    async def _from_record(self, call: Call, recorded: Recorded) -> Outcome | None:
        task = await self._under_way.tasks.again(call, recorded)
        if task is None and recorded.status is StepStatus.UNKNOWN:
            return await self._in_doubt(call, recorded)
        call.intent = False
        if task is not None:
            return task
        if recorded.status is StepStatus.EXECUTING:
            if await self._inflight.ended(recorded.call_id, call.tool.deadline_s):
                raise DecideAgain
            raise LimitFault(
                f"This very call is still running (#{recorded.call_id}). Repeat it shortly for its answer.",
                code="in_progress",
                retry_after_s=3.0,
            )
        if recorded.status is StepStatus.COMPENSATED:
            raise RequestFault(
                f"This call was made before (#{recorded.call_id}) and its effect was taken back since. "
                "To make it again, use another key.",
                code="idempotency_conflict",
                detail=recorded.call_id,
            )
        result = (recorded.end_body or {}).get("result")
        if not isinstance(result, dict):
            text = f"This call was carried out before (#{recorded.call_id}); its answer is not kept."
            result = {"content": [{"type": "text", "text": text}]}
        if labels := (recorded.end_body or {}).get("labels"):
            call.labels = tuple(map(Label, labels))
        # An answer that was recorded under older policies is delivered under those of today.
        return Succeeded(delivered(self._redactor, call, result), replayed_from=recorded.call_id)


def _conflict(call: Call, earlier: str) -> str:
    """Say what names the one effect that a call and an earlier one differ about."""
    names = call.tool.idempotency_key
    if call.request.idempotency_key is not None or not names:
        return "The same idempotency key was used with other arguments. Use a new key for a new call."
    return (
        f"{call.tool.wire_name} was called before with the same {', '.join(names)} and other arguments (#{earlier}): "
        f"what these name is done once. For other work, say another {names[-1]}."
    )


def makes_step(call: Call) -> bool:
    """Tell whether this very call is one that others rely on, or that relies on others."""
    return (
        call.step_key is not None
        or bool(call.decision.consumes)
        or call.facts.approval is not None
        or call.facts.grant is not None
        or call.tool.name in call.bundle.prior_sources
    )


def _uses(call: Call) -> tuple[StepUse, ...]:
    """List every step the decision saw, so that the claim can refuse when one is no longer the latest."""
    queries = call.bundle.priors_for(call.tool.name)
    if not queries:
        return ()
    consumed = {query.name for query in call.decision.consumes}
    uses = []
    for query in queries:
        step = call.facts.priors.get(query.name)
        lookup = lookup_for(query, call, call.facts.run, call.facts.now_ms)
        if step is not None and lookup is not None:
            uses.append(StepUse(lookup, step.call_id, step.status, consume=query.name in consumed))
    return tuple(uses)
