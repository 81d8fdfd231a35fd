"""Walks a call through the stages and records how it ended, whatever happened."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Final

from gateway.ledger.recorder import Recorder
from gateway.model.back import NOBODY
from gateway.model.call import Call
from gateway.model.clock import Clock, IdSource
from gateway.model.errors import (
    ConnectorFault,
    GatewayError,
    IdentityFault,
    LimitFault,
    OutcomeUnknown,
    RequestFault,
    StoreFault,
)
from gateway.model.identity import Identity
from gateway.model.light import light, maker
from gateway.model.outcome import Failed, Outcome, Succeeded, Unknown, Waiting
from gateway.model.request import CallRequest
from gateway.model.tool import Effect
from gateway.pipeline.inflight import InFlight, again
from gateway.pipeline.order import AFTER_CLAIM, ANSWERED, DECIDING, in_order
from gateway.pipeline.stages import DecideAgain, Stage, Step
from gateway.pipeline.strangers import Strangers
from gateway.pipeline.tasks import Tasks
from gateway.resilience.owned import OwnedTasks

__all__ = ["Ended", "Kit", "Runner"]

_LOG = logging.getLogger(__name__)
_MAX_DECISIONS: Final = 8
_ONCE_GOOD: Final = frozenset({"identity_expired", "identity_revoked"})
_READ: Final = Effect.READ
_succeeded: Final = maker(Succeeded)
_Step = Callable[[Call], "Step | asyncio.Future[Outcome]"]
_LATER: Final = (CoroutineType, asyncio.Future)  # not what is abstract: to ask that costs ten times as much


@light
@dataclass(frozen=True, slots=True)
class Ended:
    """A call and how it ended."""

    call: Call
    outcome: Outcome


_ended: Final = maker(Ended)


@dataclass(frozen=True, slots=True)
class Kit:
    """What the runner works with. `noted` is told of every call once its outcome is recorded.

    `tasks` keeps the calls whose outcome is yet to come; `strangers` says of whom nobody knows what is put on record.
    """

    recorder: Recorder
    inflight: InFlight
    owned: OwnedTasks
    clock: Clock
    ids: IdSource
    noted: Callable[[Call, Outcome], None]
    tasks: Tasks
    strangers: Strangers


class Runner:
    """The policy enforcement point. Every outcome is recorded here, refusals too, so none can be skipped."""

    def __init__(self, stages: Sequence[Stage], kit: Kit) -> None:
        steps = tuple(stage.__call__ for stage in in_order(stages))  # bound once: found anew for every call otherwise
        self._after = steps[AFTER_CLAIM:]
        self._steps: tuple[_Step, ...] = (*steps[:AFTER_CLAIM], self._handed_over, *self._after)
        self._again = self._steps[DECIDING:]
        self._answered = steps[ANSWERED:]
        self._recorder = kit.recorder
        self._inflight = kit.inflight
        self._owned = kit.owned
        self._clock = kit.clock
        self._ids = kit.ids
        self._noted = kit.noted
        self._tasks = kit.tasks
        self._strangers = kit.strangers
        self._tasks.concluded_by(self.conclude)

    async def run(self, request: CallRequest) -> Ended:
        """Carry out one call. Never raises, except when its caller is cancelled before the claim."""
        call = Call(self._ids.new("call"), request, self._clock.now_ms())
        outcome: Outcome | None = None
        try:
            for step in self._steps:  # as `_walk`, which would be one more coroutine
                said: Any = step(call)
                if said is not None:
                    outcome = await said if isinstance(said, _LATER) else said
                    if outcome is not None:
                        break
        except asyncio.CancelledError:
            self._abandon(call)
            raise
        except DecideAgain:
            call, outcome = await self._decided_again(call)
        except Exception as error:  # noqa: BLE001 - a fault nobody foresaw still refuses, and is recorded
            return await self._refused(call, _failed(call, error))  # not kept here: the error knows this frame
        if outcome is None:
            outcome = _succeeded(call.result)
        return _ended(call, outcome if call.intent else await self._record(call, outcome))

    async def _refused(self, call: Call, outcome: Outcome) -> Ended:
        return _ended(call, outcome if call.intent else await self._record(call, outcome))

    async def conclude(self, call: Call, answered: Mapping[str, Any] | GatewayError) -> Outcome:
        """Put on record what came of a claimed call that was answered long after it was made, and return that.

        `answered` is the answer of its tool, or why there is none.
        """
        if isinstance(answered, GatewayError):
            return await self._finish(call, _fault(call, answered))
        call.raw = answered
        return await self._finish(call, await self._walk(call, self._answered) or Succeeded(call.result))

    async def refuse(self, request: CallRequest, error: GatewayError, identity: Identity | None = None) -> None:
        """Put on record a request that was refused before it became a call; `identity` where the caller is known."""
        call = Call(self._ids.new("call"), request, self._clock.now_ms())
        if identity is not None:
            call.identity = identity
        await self._record(call, Failed(error))

    async def _decided_again(self, call: Call) -> tuple[Call, Outcome | None]:
        """Go on with a call under whose decision the facts changed, as often as they do."""
        for _ in range(_MAX_DECISIONS - 1):
            call = call.decided_again()
            try:
                return call, await self._walk(call, self._again)
            except DecideAgain:
                continue
            except asyncio.CancelledError:
                self._abandon(call)
                raise
        crowd = LimitFault(
            "The steps this call depends on keep changing. Try again.", code="in_progress", retry_after_s=1.0
        )
        return call.decided_again(), Failed(crowd)

    def _abandon(self, call: Call) -> None:
        """Put on record a call whose caller left before anything was sent; a claim under way ends itself."""
        if not call.intent:
            gone = Failed(RequestFault("The caller went away before the call was made.", code="cancelled"))
            self._owned.start(self._record(call, gone))

    async def _walk(self, call: Call, steps: tuple[_Step, ...]) -> Outcome | None:
        try:
            for step in steps:
                said: Any = step(call)
                if said is not None:
                    outcome: Outcome | None = await said if isinstance(said, _LATER) else said
                    if outcome is not None:
                        return outcome
        except DecideAgain:
            raise
        except Exception as error:  # noqa: BLE001 - a fault nobody foresaw still refuses, and is recorded
            return _failed(call, error)
        return None

    def _handed_over(self, call: Call) -> "asyncio.Future[Outcome] | None":
        """Have a claimed call carried out to its recorded end by a task of its own; any other goes on as it is."""
        return self._owned.run(self._carry_out(call)) if call.intent else None

    async def _carry_out(self, call: Call) -> Outcome:
        """Execute a claimed call to its recorded end, whether or not anybody still listens."""
        outcome: Outcome
        back = call.request.back
        if back is not NOBODY:
            back.under_way, back.acts = asyncio.current_task(), call.tool.effect is not _READ
        try:
            outcome = await self._walk(call, self._after) or (
                await self._come_of(call) if call.as_task else _succeeded(call.result)
            )
        except asyncio.CancelledError:  # only its client's word, or a shutdown past its deadline, cancels an owned task
            outcome = _cut_short(call)
        finally:
            if back is not NOBODY:  # nothing withdraws it any more, and a fault in its outcome knows the way back
                back.under_way = None
        if isinstance(outcome, Waiting):
            self._inflight.end(call.id, recorded=False)
            return outcome
        return await self._finish(call, outcome)

    async def _come_of(self, call: Call) -> Outcome:
        """Return the outcome of a call that was answered: with a task that will have its result, or with that."""
        try:
            return await self._tasks.begin(call) or _succeeded(call.result)
        except OutcomeUnknown as error:
            return Unknown(error)

    async def _finish(self, call: Call, outcome: Outcome) -> Outcome:
        """Record the outcome of a claimed call."""
        recorded = False
        before = call.takes_over.call_id if call.takes_over is not None else ""
        if before and isinstance(outcome, Succeeded):
            outcome = Succeeded(outcome.result, replayed_from=before)
        try:
            await self._recorder.finish(call, outcome)
            recorded = True
        except Exception as error:  # noqa: BLE001 - whatever it is, the call was made and is not on record
            _LOG.exception("the outcome of call %s could not be recorded", call.id)
            said = f"The call was sent, but its outcome could not be recorded (#{call.id}). Do not repeat it blindly."
            if isinstance(error, StoreFault):  # who repeats it meanwhile is told that it is under way
                self._owned.start(self._recorder.end_later(call, outcome))
            outcome = Unknown(OutcomeUnknown(said, detail=_as_fault(error).detail))
        finally:
            self._inflight.end(call.id, recorded=recorded)
            if before:
                self._inflight.end(again(before), recorded=recorded)
        self._noted(call, outcome)
        return outcome

    async def _record(self, call: Call, outcome: Outcome) -> Outcome:
        """Record a call that made no claim; one that cannot be recorded did not happen, and is put on record later.

        Of a flood of bad credentials the rest is counted.
        """
        if isinstance(outcome, Failed) and isinstance(outcome.error, IdentityFault):
            credential = outcome.error.detail if outcome.error.code in _ONCE_GOOD else ""
            if not self._strangers.may(call.request.caller.address, credential):
                self._noted(call, outcome)
                return outcome
        try:
            await self._recorder.record(call, outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is not on record
            _LOG.exception("call %s could not be recorded", call.id)
            outcome = Failed(_as_fault(error)) if isinstance(outcome, Succeeded) else outcome
            with suppress(GatewayError):
                await self._recorder.record_later(call, outcome)
        self._noted(call, outcome)
        return outcome


def _cut_short(call: Call) -> Outcome:
    """Return how a call ended that was called off after it was sent."""
    if not call.request.back.cancelled:
        return Unknown(OutcomeUnknown("The gateway stopped before the answer came."))
    if call.tool.effect is _READ:
        return Failed(RequestFault("The client called it off.", code="cancelled"))
    return Unknown(OutcomeUnknown(f"The client called it off while it was under way (#{call.id})."))


def _as_fault(error: Exception) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    return GatewayError("Something in the gateway failed; it is a bug.", detail=repr(error))


def _failed(call: Call, error: Exception) -> Outcome:
    """Return how a call ended of which a stage failed."""
    if isinstance(error, GatewayError):
        return _fault(call, error)
    _LOG.error("call %s: a stage failed in a way nobody foresaw", call.id, exc_info=error)
    return _fault(call, _as_fault(error))


def _fault(call: Call, error: GatewayError) -> Outcome:
    """Sort a fault: an effect that may have happened is unknown, anything else failed."""
    if isinstance(error, OutcomeUnknown):
        return Unknown(error)
    claimed_effect = call.intent and call.tool.effect is not _READ
    if not claimed_effect:
        return Failed(error)
    if call.has("raw"):  # the tool did answer: what follows cannot undo it
        return Unknown(error)
    definite = isinstance(error, ConnectorFault | LimitFault | RequestFault | StoreFault)
    return Failed(error) if definite else Unknown(error)
