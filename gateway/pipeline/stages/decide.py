"""Stage 6: ask the policies."""

from dataclasses import replace

from gateway.model.call import Call
from gateway.model.decision import Decision, DecisionInput, Ruling
from gateway.model.errors import RequestFault
from gateway.model.operation import TOOL_CALL
from gateway.model.outcome import Denied, Failed, Outcome, Waiting
from gateway.model.tool import Tool
from gateway.pipeline.inflight import InFlight
from gateway.pipeline.stages import DecideAgain, Step
from gateway.policy import decide, decision_input

__all__ = ["Decide"]


class Decide:
    """Sets `call.given` and `call.decision`; stops with Denied, except where an approval would do: claim parks that.

    A dry run ends here, with Failed `dry_run` where the call itself would go on.

    A precondition whose step is still running is waited for up to `patience_s`, then answered with Waiting: an agent
    that called both at once did nothing wrong (LEDGER.md §3).
    """

    def __init__(self, inflight: InFlight, *, patience_s: float = 3.0) -> None:
        self._inflight = inflight
        self._patience_s = patience_s

    def __call__(self, call: Call) -> Step:
        if call.request.via is not None and not _may_come_through(call, call.request.via):
            return Denied(call.decision)
        about = call.request.task or call
        given = decision_input(call.bundle, call.identity, about.tool, about.arguments, call.facts)
        decision = decide(call.bundle, given)
        if decision.waits_for is not None and not decision.allowed:
            return self._wait(call, given, decision, decision.waits_for)
        call.given, call.decision = given, decision
        if not decision.allowed and not _is_for_people(call, decision):
            return Denied(decision)
        return None if call.request.dry_run is None else Failed(_only_asked(call, decision))

    async def _wait(self, call: Call, given: DecisionInput, decision: Decision, step: str) -> Outcome:
        """Wait for a step that is still running."""
        if await self._inflight.ended(step, self._patience_s):
            raise DecideAgain
        call.given, call.decision = given, decision
        return Waiting(
            on=step,
            message=f"A step this call needs is still running (#{step}). Repeat this call shortly.",
            retry_after_s=self._patience_s,
        )


def _only_asked(call: Call, decision: Decision) -> RequestFault:
    """Return what a dry run is answered whose call would go on from here."""
    recorded = call.facts.repeat_of
    if not decision.allowed:
        what = decision.message
    elif recorded is not None:
        what = f"The policies allow this call; it was made before (#{recorded}) and would be answered from the record."
    else:
        what = "The policies allow this call."
    told = {"ruling": str(decision.ruling), "policies": list(decision.policies)}
    return RequestFault(f"Nothing was done, this was a dry run. {what}", code="dry_run", told=told)


def _is_for_people(call: Call, decision: Decision) -> bool:
    """Tell whether people can be asked; not about what was done already, and is only to be told again.

    Whoever waits for them may ask how that stands.
    """
    about = call.request.task
    if about is not None:
        return about.asked_people and decision.ruling is Ruling.NEEDS_APPROVAL
    once = call.tool.method == TOOL_CALL and call.facts.repeat_of is None
    return once and decision.ruling is Ruling.NEEDS_APPROVAL


def _may_come_through(call: Call, via: Tool) -> bool:
    """Decide on the tool that this call came through as well. It makes no step, so none can be required of it."""
    arguments = {"name": call.request.name, "arguments": call.arguments}
    given = decision_input(
        call.bundle, call.identity, via, arguments, replace(call.facts, priors={}, approval=None, grant=None)
    )
    decision = decide(call.bundle, given)
    if not decision.allowed:
        call.given, call.decision = given, decision
    return decision.allowed
