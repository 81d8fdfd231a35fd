"""Asks the user in front of the client for an approval, with MCP elicitation: there, where policies let them give it.

Who that is, is what the caller's identity proves: the user it acts for, or at this machine's own key the owner of the
agent. Whoever holds the client can answer in their name; so nobody is asked but for the tools that were configured.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from gateway.approval.shown import laid_out, visible
from gateway.approval.values import Approval, ApprovalRefused
from gateway.model.call import Call
from gateway.model.identity import Identity
from gateway.pipeline.asking import lacking_for
from gateway.pipeline.desk import Desk, described
from gateway.pipeline.elicited import ELICIT
from gateway.pipeline.parking import Parlour

__all__ = ["CHANNEL", "Eliciting"]

CHANNEL: Final = "elicitation"
_LONGEST: Final = 8_000
"""Characters of a question: of a call with more to it, people are asked where they can read it in peace."""

_PATIENCE_S: Final = 600.0
_ON_PAGE_S: Final = 25.0
"""How long a call waits for who went to the page; many clients give a request up after 30 seconds."""

_DECLINED: Final = "declined in the client"
_REASON: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "title": "Reason", "description": "Kept with what you decide.", "maxLength": 500}
    },
}


class Eliciting:
    """Puts approvals of `tools`, which are patterns, to users. What they say is checked and recorded by the desk."""

    def __init__(self, parlour: Parlour, desk: Desk, tools: Sequence[str]) -> None:
        self._parlour = parlour
        self._desk = desk.through(CHANNEL)
        self._tools = tools

    async def ask(self, call: Call, approval: Approval) -> Approval | None:
        """Return an approval as it is once its call's user has answered, or somebody else has; None: no user may.

        To accept a form is to approve, to decline it to deny; whatever else comes back, or nothing, leaves it as it is.
        On the page that a client is sent to where no form would do, whoever sits there shows who they are.
        """
        person, params = await self._question(call, approval)
        if params is None:
            return None
        asking = asyncio.ensure_future(call.request.back.ask(ELICIT, params))
        deciding = asyncio.ensure_future(self._parlour.approvals.decided(approval.id, _PATIENCE_S))
        try:
            await asyncio.wait({asking, deciding}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            deciding.cancel()
            asking.cancel()
            answers = await asyncio.gather(asking, deciding, return_exceptions=True)
        answer = answers[0] if isinstance(answers[0], Mapping) else {}
        if person:
            await self._take(answer, approval, person)
        on_page = _ON_PAGE_S if not person and answer.get("action") == "accept" else 0
        return await self._parlour.approvals.decided(approval.id, on_page)

    async def _question(self, call: Call, approval: Approval) -> tuple[str, Mapping[str, Any] | None]:
        """Return what the client is asked, and in a form, whose answer that is."""
        if not any(fnmatchcase(call.tool.name, pattern) for pattern in self._tools):
            return "", None
        person, page = self.person(call.identity), self._parlour.page_of(approval.id)
        if person and _offers(call, "form") and await self._desk.may(person, approval):
            question = _question(approval, person, self._parlour.clock.now_ms())
            if len(question) <= _LONGEST:
                return person, {"mode": "form", "message": question, "requestedSchema": _REASON}
        if page and _offers(call, "url"):
            return "", {"mode": "url", "elicitationId": approval.id, "url": page, "message": _sent(approval)}
        return "", None

    async def _take(self, answer: Mapping[str, Any], approval: Approval, person: str) -> None:
        content = answer.get("content")
        reason = content.get("reason") if isinstance(content, Mapping) else None
        why = reason if isinstance(reason, str) else ""
        try:
            if answer.get("action") == "accept":
                await self._desk.approve(person, approval.id, why)
            elif answer.get("action") == "decline":
                await self._desk.deny(person, approval.id, why or _DECLINED)
        except ApprovalRefused:  # it is over, or void: the agent is told how it stands
            return

    def person(self, identity: Identity) -> str:
        """Return which of the people the user of a caller is, or nothing."""
        user = identity.on_behalf_of or (identity.owner if identity.method == "local" else "")
        rules = self._parlour.rules.current
        named = (name for name in rules.people if user in {name, *rules.aliases.get(name, ())})
        return next(named, "") if user else ""


def _offers(call: Call, mode: str) -> bool:
    offered = call.request.back.capabilities.get("elicitation")
    return isinstance(offered, Mapping) and not lacking_for(offered, ELICIT, {"mode": mode})


def _sent(approval: Approval) -> str:
    told = described(approval, 0)
    call = f"{told['child'] or told['agent']} wants to call {told['tool']}, which needs a person's approval."
    return f"{visible(call)} If you may give it, open the page, show who you are, and decide there."


def _question(approval: Approval, person: str, now_ms: int) -> str:
    """Return all of what is asked: nothing is cut, and nothing is in it that cannot be seen."""
    told = described(approval, now_ms)
    who = told["child"] or told["agent"]
    behalf = f" for {told['on_behalf_of']}" if told["on_behalf_of"] else ""
    cost = "".join(f"\nCost: {amount} {unit}" for unit, amount in approval.asked.get("cost", {}).items())
    until = datetime.fromtimestamp(approval.until_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return "\n".join(
        [
            f"{visible(who)}{visible(behalf)} wants to call {visible(told['tool'])} ({told['effect']}):",
            *laid_out(told["arguments"]),
            f"{visible(told['message'])}{cost}",
            f"Accept: it is carried out once, with exactly these arguments, as approved by {visible(person)}. "
            f"Decline: it is refused. Cancel: {approval.id} stays open until {until}.",
        ]
    )
