"""`approvals.execute`: carries out a draft that people have approved, as a call of its own, decided like any other."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.approval.values import Approval, ApprovalRefused
from gateway.codec import digest, dump
from gateway.model.call import Call
from gateway.model.errors import ApprovalFault, LimitFault, RequestFault
from gateway.model.outcome import Denied, Outcome, Succeeded, Waiting
from gateway.model.request import CallRequest
from gateway.pipeline.consent import child_of, is_drafts
from gateway.pipeline.parking import Parking, Parlour, refused_all_the_same
from gateway.pipeline.runner import Ended
from gateway.store.approvals import ApprovalState

__all__ = ["Drafting"]

_ASK_AGAIN_S = 15.0


class Drafting:
    """Finds the draft that an agent names, and makes the call that was approved, once. `run` is set with the pipeline.

    Whose draft it is, how it stands and what was approved is checked here, so that the refusal can say it; the claim
    uses the approval up.
    """

    run: Callable[[CallRequest], Awaitable[Ended]]

    def __init__(self, parlour: Parlour, parking: Parking) -> None:
        self._parlour = parlour
        self._parking = parking

    async def execute(self, call: Call) -> Mapping[str, Any]:
        """Answer `approvals.execute` with what the approved call is answered.

        Raises:
            RequestFault: the caller has no such draft.
            ApprovalFault: it is not approved, is over, or the policies refuse it all the same.
            GatewayError: whatever the call itself fails with.
        """
        draft = await self._theirs(call)
        repeats = draft.used_by and call.facts.run.attempt > 1  # its caller goes through the run again
        if not (repeats or draft.is_usable(self._parlour.clock.now_ms())):
            raise await self._refusal(draft)
        request, own = call.request, (draft.agent, draft.child) == (call.identity.agent, child_of(call.identity))
        arguments = draft.asked["arguments"]
        is_whole = digest(arguments) == draft.bound.arguments_digest
        ended = await self.run(
            CallRequest(
                name=draft.tool,
                arguments=arguments if is_whole else await self._parlour.safe.arguments(draft),
                caller=request.caller,
                meta=request.meta,
                run=(draft.bound.run if own else "") or request.run,
                attempt=request.attempt,
                back=request.back,
                endpoint=request.endpoint,
                draft=draft.id,
            )
        )
        if not is_whole and (await self._parlour.approvals.find(draft.id)).used_by:
            await self._parlour.safe.forget(draft)
        return _result(ended.outcome)

    async def _theirs(self, call: Call) -> Approval:
        try:
            draft = await self._parlour.approvals.find(call.arguments["draft"])
        except ApprovalRefused:
            draft = None
        tool = None if draft is None else self._parlour.rules.current.catalog.find(draft.tool)
        if draft is None or tool is None or not is_drafts(draft, call.identity, tool):
            raise RequestFault("There is no draft of that id for you to carry out.")
        return draft

    async def _refusal(self, draft: Approval) -> ApprovalFault:
        status = draft.status(self._parlour.clock.now_ms())
        if status == ApprovalState.PENDING:
            text = f"{draft.id} is not approved: nobody has decided it yet. Nothing was done."
            pending = ApprovalFault(text, code="approval_pending", retry_after_s=_ASK_AGAIN_S)
            pending.retryable = True
            return pending
        if status == ApprovalState.EDITED:
            new = await self._parlour.approvals.find(draft.edited_to)
            made = f"{new.tool} {dump(new.asked['arguments']).decode()}"
            text = f"A person changed {draft.id}: in its place is {new.id}, which calls {made}. Carry that out instead."
            return ApprovalFault(text, code="approval_edited", told={"draft": new.id})
        if draft.used_by:
            text = f"{draft.id} was carried out already (#{draft.used_by}); an approved draft is good for one call."
            return ApprovalFault(text, code="approval_over")
        return await self._parking.refusal(draft)


def _result(outcome: Outcome) -> Mapping[str, Any]:
    match outcome:
        case Succeeded(result):
            return result
        case Denied():
            raise refused_all_the_same(outcome)
        case Waiting(_, message, retry_after_s):
            raise LimitFault(message, code="in_progress", retry_after_s=retry_after_s)
    raise outcome.error
