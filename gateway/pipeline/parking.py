"""Where a call goes that only lacks an approval: people are asked, and it waits a little for their answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from gateway.approval.approvals import Approvals
from gateway.approval.own_tools import EXECUTE_TOOL, LONGEST_S, WAIT_S
from gateway.approval.values import Approval, ApprovalRefused
from gateway.codec import dump
from gateway.credentials.site import Site
from gateway.credentials.visitors import PATH
from gateway.ledger.entries import claim_body
from gateway.ledger.parts import Redact
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.decision import Remedy
from gateway.model.errors import ApprovalFault, RequestFault
from gateway.model.outcome import Denied, Outcome, Waiting
from gateway.pipeline.consent import bound_of, child_of, is_drafts
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.safe import Safe
from gateway.pipeline.stages import DecideAgain
from gateway.policy import people_needed
from gateway.redaction.redactor import MARK
from gateway.store.approvals import ApprovalState
from gateway.store.runs import RunStore

__all__ = ["Parking", "Parlour", "refused_all_the_same"]

_COME_AGAIN_S: Final = 15.0
_NOBODY: Final = "Nobody is configured who could give it: ask the operator to add `people:`."
_EDITED: Final = "A person changed the arguments of this call: as it is, it is not carried out."
_TOLD: Final[Mapping[str, str]] = {
    "pending": "Nobody has decided it yet. Ask again later.",
    "approved": "Repeat the call with the very same arguments: it is carried out then, once.",
    "edited": "A person changed the arguments. Make the call that is named here instead.",
    "expired": "Its time is over. Make the call again to have people asked anew.",
    "revoked": "It is void. Make the call again to have people asked anew.",
    "used": "The call has been carried out.",
}


_NO_DRAFT: Final = (
    "was approved, and cannot be carried out any more: the policies or the tool changed since, it belongs to another "
    "run, or who approved it is not enough for it. Make the call again for a new draft."
)
_STANDS: Final = frozenset({ApprovalState.PENDING, ApprovalState.APPROVED})
_AS_TASK: Final = "Once it is approved it is carried out, and this task has what comes of it."


AsTask = Callable[[Call, Approval, str], Awaitable[Waiting | None]]
"""Makes a task of a call that waits, for a client that can follow one; then nobody waits here."""


async def _no_task(call: Call, approval: Approval, text: str) -> None:
    del call, approval, text


Elicit = Callable[[Call, Approval], Awaitable[Approval | None]]
"""Asks the user in front of the client; returns the approval as it is then, or None where nobody there may be asked."""


def _untold(approval: Approval) -> None:
    del approval


class Parlour:
    """What parking and the desk work with. `told` hears of every approval that was opened, and never waits.

    `site` is where people find the pages on which they decide. `safe` keeps what drafts call with, and is set with the
    pipeline.
    """

    safe: Safe

    def __init__(self, rules: RulesInForce, approvals: Approvals, clock: Clock, redact: Redact, runs: RunStore) -> None:
        self.rules = rules
        self.runs = runs
        self.approvals = approvals
        self.clock = clock
        self.redact = redact
        self.told: Callable[[Approval], None] = _untold
        self.site = Site()

    def page_of(self, approval_id: str) -> str:
        """Return the URL of the page on which people decide an approval; nothing where no safe way leads there."""
        return f"{self.site.base}{PATH}/{approval_id}" if self.site.base else ""


class Parking:
    """Opens an approval for a call, once, and says what became of it. Nothing of a call stays here."""

    def __init__(self, parlour: Parlour, patience_s: float = WAIT_S, elicit: Elicit | None = None) -> None:
        self._parlour = parlour
        self._approvals = parlour.approvals
        self._clock = parlour.clock
        self._patience_s = patience_s
        self.as_task: AsTask = _no_task
        self._elicit = elicit

    async def park(self, call: Call) -> Outcome:
        """Return what a call is answered that lacks an approval; it is never carried out here.

        Raises:
            DecideAgain: people have decided.
            StoreFault: nobody can be asked.
        """
        if not self._parlour.rules.current.people:
            return Denied(replace(call.decision, message=f"{call.decision.message} {_NOBODY}"))
        if call.drafts:
            return await self._drafted(call)
        approval = await self._held(call)
        if approval.is_pending(self._clock.now_ms()):
            task = await self.as_task(call, approval, self._asked(call, approval) + _AS_TASK)
            if task is not None:
                return task
            asked = None if self._elicit is None else await self._elicit(call, approval)
            approval = asked or await self._approvals.decided(approval.id, self._patience_s)
        if approval.state is ApprovalState.EDITED:
            edited = await self._approvals.find(approval.edited_to)
            remedy = Remedy(edited.tool, edited.asked["arguments"])
            decision = replace(call.decision, message=_EDITED, remedies=(remedy,))
            return Denied(decision, code="approval_edited", approval=edited.id)
        return self._answer(call, approval)

    async def _held(self, call: Call) -> Approval:
        """Return the approval that stands for a call, opened where there was none."""
        bound = bound_of(call, call.facts.run)
        approval = await self._approvals.held(bound)
        if approval is None:
            approval, opened = await self._approvals.ask(bound, self._body(call), call.facts.run.id)
            if opened:
                self._parlour.told(approval)
        return approval

    async def _drafted(self, call: Call) -> Outcome:
        """Return the draft that a call comes to, whatever people have said to it; or that it is not to be made.

        Raises:
            ApprovalFault: it is a draft that is carried out, and its approval is none any more.
        """
        if call.request.draft is not None:
            raise ApprovalFault(f"{call.request.draft} {_NO_DRAFT}", code="approval_over")
        draft = await self._held(call)
        if draft.state in _STANDS and draft.asked["arguments"] != call.arguments:
            until_ms = draft.until_ms + self._approvals.kept.use_within_ms
            await self._parlour.safe.keep(draft, call.arguments, until_ms)
        if draft.state is ApprovalState.EDITED:
            draft = await self._approvals.find(draft.edited_to)
        if draft.state is ApprovalState.DENIED:
            return self._answer(call, draft)
        execute = self._call(draft)
        how = f"{execute['tool']} {dump(execute['arguments']).decode()}"
        does = f"It would call {call.tool.wire_name} {dump(draft.asked['arguments']).decode()}."
        status = draft.status(self._clock.now_ms())
        told = f"It is approved: carry it out with {how}."
        if status == ApprovalState.PENDING:
            told = f"{self._asked(call, draft)}Once it is approved, carry it out with {how}."
        text = f"This is a draft, {draft.id}. {does} {told}"
        shown = {"draft": draft.id, "state": status, "tool": call.tool.wire_name, "arguments": draft.asked["arguments"]}
        structured = {**shown, "execute": execute, "message": text}
        answer = {"content": [{"type": "text", "text": text}], "structuredContent": structured}
        return Waiting(draft.id, text, _COME_AGAIN_S, approval=draft.id, answer=answer)

    def _answer(self, call: Call, approval: Approval) -> Outcome:
        now = self._clock.now_ms()
        if approval.state is ApprovalState.DENIED:
            decision = replace(call.decision, message=_denied(approval))
            return Denied(decision, code="approval_denied", approval=approval.id)
        if approval.is_pending(now):
            return self._waiting(call, approval, "")
        seen = call.facts.approval
        if approval.is_usable(now) and seen is not None and (seen.id, seen.version) == (approval.id, approval.version):
            return self._waiting(call, approval, "Who approved it so far is not enough for it any more. ")
        raise DecideAgain

    def _waiting(self, call: Call, approval: Approval, why: str) -> Waiting:
        text = (
            f'{self._asked(call, approval)}{why}See how it stands with approvals_wait {{"approval": "{approval.id}"}}; '
            "once it is approved, repeat this very call with the same arguments: it is carried out then, once."
        )
        return Waiting(approval.id, text, _COME_AGAIN_S, approval=approval.id)

    def _asked(self, call: Call, approval: Approval) -> str:
        who = f" ({' and '.join(approval.who)})" if approval.who else ""
        many = f"the approval of {approval.quorum} people" if approval.quorum > 1 else "a person's approval"
        until = datetime.fromtimestamp(approval.until_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        asked = call.decision.message.partition("It needs a person's approval")[0]
        nothing = f"Nothing was done yet: this call needs {many}{who}."
        page = self._parlour.page_of(approval.id)
        where = f" They decide at {page} (tell your user)." if page else ""
        return f"{asked}{nothing} They are asked as {approval.id} until {until}.{where} "

    def _body(self, call: Call) -> Mapping[str, Any]:
        identity = call.identity
        lists = {"teams": identity.teams, "roles": identity.roles, "scopes": identity.scopes}
        return {
            **claim_body(call, self._parlour.redact),
            "asker": {"owner": identity.owner, **{name: list(names) for name, names in lists.items()}},
            "who": [who for kind, who in call.decision.obligations if kind == "approval"],
            "quorum": people_needed(call.bundle, call.given),
            "effect": str(call.tool.effect),
            **({"draft": True} if call.drafts else {}),
            **({"server": told} if (told := self._parlour.rules.current.about(call.tool).told()) else {}),
        }

    async def refusal(self, approval: Approval) -> ApprovalFault:
        """Return why a call is not made any more that waited for an approval which is over, and was not used."""
        status = approval.status(self._clock.now_ms())
        if status == ApprovalState.DENIED:
            return ApprovalFault(_denied(approval))
        if status == ApprovalState.EDITED:
            call = self._call(await self._approvals.find(approval.edited_to))
            text = f"{_EDITED} Make this call instead: {call['tool']} {dump(call['arguments']).decode()}"
            return ApprovalFault(text, code="approval_edited", told={"remedies": [call]})
        return ApprovalFault(f"{approval.id} is {status}. {_TOLD[status]}", code="approval_over")

    async def answer(self, call: Call) -> Mapping[str, Any]:
        """Answer `approvals.escalate`: with what the person said who let the call go on. Raises `StoreFault`."""
        consent = call.facts.approval
        assert consent is not None  # its policy lets nothing through without one
        [*_, vote] = (await self._approvals.find(consent.id)).consents
        said = vote.why or "Yes."
        told = {"escalation": consent.id, "by": vote.by, "answer": said}
        return {"content": [{"type": "text", "text": f"{vote.by}: {said}"}], "structuredContent": told}

    async def wait(self, call: Call) -> Mapping[str, Any]:
        """Answer `approvals.wait`: how an approval stands that a call of the same caller waits for.

        Raises:
            RequestFault: it has none of that id.
        """
        asked = call.arguments
        approval = await self._own(call, asked["approval"])
        if approval.is_pending(self._clock.now_ms()):
            patience = min(asked.get("seconds", WAIT_S), LONGEST_S)
            approval = await self._approvals.decided(approval.id, patience)
        status = approval.status(self._clock.now_ms())
        answer: dict[str, Any] = {"approval": approval.id, "state": status}
        again = self._call(approval)
        is_whole = MARK not in dump(again["arguments"]).decode()  # else it would be another call, with the mask in it
        if status in {ApprovalState.PENDING, ApprovalState.APPROVED} and is_whole:
            answer["call"] = again
        if status == ApprovalState.EDITED:
            answer["call"] = self._call(await self._approvals.find(approval.edited_to))
        told = _denied(approval) if status == ApprovalState.DENIED else _TOLD[status]
        if status == ApprovalState.APPROVED and approval.asked.get("draft", False):
            told = "Carry it out with the call that is named here: it is made then, once."
        answer["message"] = told  # many a client shows its model one of the two, and this one where there is one
        return {"content": [{"type": "text", "text": f"{approval.id}: {status}. {told}"}], "structuredContent": answer}

    async def _own(self, call: Call, approval_id: str) -> Approval:
        try:
            approval = await self._approvals.find(approval_id)
        except ApprovalRefused:
            approval = None
        caller = call.identity.agent, call.identity.on_behalf_of or ""
        child = child_of(call.identity)  # an agent may look at what waits for those that work for it
        tool = None if approval is None else self._parlour.rules.current.catalog.find(approval.tool)
        if approval is None or approval.standing:
            theirs = False
        else:
            drafts = tool is not None and is_drafts(approval, call.identity, tool)
            its = (approval.agent, approval.on_behalf_of) == caller and child in {"", approval.child}
            theirs = drafts or its
        if approval is None or not theirs:
            raise RequestFault("No call of yours waits for an approval of that id.")
        return approval

    def _call(self, approval: Approval) -> Mapping[str, Any]:
        """Return the call that an agent should make once it is approved."""
        catalog = self._parlour.rules.current.catalog
        if approval.asked.get("draft", False):
            execute = catalog.find(EXECUTE_TOOL)
            return {"tool": execute.wire_name if execute else EXECUTE_TOOL, "arguments": {"draft": approval.id}}
        tool = catalog.find(approval.tool)
        name = approval.tool if tool is None else tool.wire_name
        return {"tool": name, "arguments": approval.asked["arguments"]}


def refused_all_the_same(denied: Denied) -> ApprovalFault:
    """Return why a call that people approved is not made, as the policies say now."""
    decision = denied.decision
    said = decision.message or "No policy allows this call."
    calls = "".join(f" Call {each.tool} {dump(each.arguments).decode()}" for each in decision.remedies)
    return ApprovalFault(f"It was approved and is refused all the same: {said}{calls}", code=denied.code)


def _denied(approval: Approval) -> str:
    refusal = approval.votes[-1]
    why = f": {refusal.why}" if refusal.why else "."
    return f"{refusal.by} was asked and denied this call{why}"
