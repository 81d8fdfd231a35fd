"""Approvals that the user in front of the client is asked for there, in either era."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.approval.config import ApprovalsSection
from gateway.approval.values import Approval
from gateway.pipeline.stages.claim import Claim
from gateway.store.approvals import ApprovalState
from tests.identity.doubles import agents
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer, request, settle
from tests.pipeline.people import ASK, LEADS, PEOPLE, TWO, paid
from tests.transport.front import Front
from tests.transport.peer import Peer
from tests.transport.tasking import PAY

ERAS = ("legacy", "modern")
OWN = LEADS.replace("permit", '@obligation("self_approval:allowed") permit')
ASKED = ApprovalsSection(wait_s=0, elicitation=["payments.*"])
OWNED = {"payer": {"owner": "bob", "auth": {"local": True}}}


class User:
    """A client of one era with a user in front of it, who owns the agent."""

    def __init__(self, era: str, *policies: str, section: ApprovalsSection = ASKED, owner: str = "bob") -> None:
        self.era = era
        self.gate = Gate(PERMIT_ALL, *(policies or (ASK, OWN)), people=PEOPLE, approvals=section)
        self.gate.authenticator.replace(agents(payer={"owner": owner, "auth": {"local": True}}))
        self.peer = Peer(Front(self.gate))

    async def calls(self, elicitation: Any = None, call: Mapping[str, Any] = PAY) -> Any:
        """Make the call; return what the user is asked, or the result of the call where it is nothing."""
        self.call, offered = call, {"elicitation": {"form": {}} if elicitation is None else elicitation}
        if self.era == "modern":
            self.peer.capabilities = offered
            return await self._modern(call)
        await self.peer.initialize(**offered)
        self.reply = self.peer.legacy("tools/call", call)
        return await self._legacy()

    async def answers(self, action: str, content: Any = None) -> Any:
        """Have the user answer; return as `calls`."""
        said = {"action": action, **({} if content is None else {"content": content})}
        if self.era == "modern":
            [key] = self.result["inputRequests"]
            again = {"inputResponses": {key: said}, "requestState": self.result["requestState"]}
            return await self._modern({**self.call, **again})
        await self.peer.reply(self.asked["id"], said).ended()
        return (await self.reply.message())["result"]

    async def _modern(self, call: Mapping[str, Any]) -> Any:
        self.result = (await self.peer.modern("tools/call", call).ended()).messages[-1]["result"]
        if self.result["resultType"] != "input_required":
            return self.result
        [self.asked] = self.result["inputRequests"].values()
        return self.asked["params"]

    async def _legacy(self) -> Any:
        asking = asyncio.ensure_future(self.reply.message("elicitation/create"))
        await asyncio.wait({asking, self.reply.task}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            asking.cancel()
            return self.reply.messages[-1]["result"]
        self.asked = asking.result()
        return self.asked["params"]

    async def approval(self) -> Approval:
        [found] = await self.gate.approving.approvals.listed(is_open=False)
        return found

    @property
    def paid(self) -> int:
        return len(paid(self.gate))


def code(result: Mapping[str, Any]) -> str:
    return str(result["_meta"]["io.toolgate/refusal"]["code"]) if result.get("isError") else "ok"


@pytest.fixture(params=ERAS)
def user(request: pytest.FixtureRequest) -> User:
    return User(request.param)


async def test_the_user_is_shown_exactly_what_is_to_be_done(user: User) -> None:
    hidden = {**PAYMENT, "payee": "ACME\u202e\u200b"}
    asked = await user.calls(call={**PAY, "arguments": hidden})
    approval = await user.approval()
    assert asked["mode"] == "form"
    assert asked["message"].split("\n")[:7] == [
        "payer wants to call payments.pay (irreversible):",
        "{",
        '  "amount": 250,',
        '  "payee": "ACME\\u202e\\u200b",',
        '  "payment_id": "p_17"',
        "}",
        "Payments are looked at first. It needs a person's approval (leads).",
    ]
    assert f"as approved by bob. Decline: it is refused. Cancel: {approval.id} stays open until" in asked["message"]
    assert list(asked["requestedSchema"]["properties"]) == ["reason"]
    assert (user.paid, approval.state) == (0, ApprovalState.PENDING)
    await user.answers("cancel")


async def test_to_accept_is_to_approve_and_the_call_is_carried_out_at_once(user: User) -> None:
    user.gate.servers["payments"].calls.append(answer({"paid": 1}))
    await user.calls()
    result = await user.answers("accept", {"reason": "the invoice is right"})
    assert (result["structuredContent"], user.paid) == ({"paid": 1}, 1)
    approval = await user.approval()
    [vote] = approval.votes
    assert (vote.by, vote.why, vote.channel) == ("bob", "the invoice is right", "elicitation")
    assert approval.status(user.gate.clock.now_ms()) == "used"
    [told] = [event.body for event in await user.gate.events() if event.kind == "approval.approved"]
    assert '"channel":"elicitation"' in told


async def test_to_decline_is_to_deny(user: User) -> None:
    await user.calls()
    result = await user.answers("decline")
    assert (code(result), user.paid) == ("approval_denied", 0)
    assert "bob was asked and denied this call: declined in the client" in result["content"][0]["text"]
    assert (await user.approval()).votes[-1].channel == "elicitation"


@pytest.mark.parametrize("action", ["cancel", "accepted", ""])
async def test_whatever_else_comes_back_decides_nothing(user: User, action: str) -> None:
    await user.calls()
    assert code(await user.answers(action, {"reason": 7})) == "needs_approval"
    assert ((await user.approval()).state, user.paid) == (ApprovalState.PENDING, 0)


async def test_somebody_who_decides_elsewhere_ends_the_question(user: User) -> None:
    if user.era == "modern":
        await user.calls()
        await user.gate.approving.desk.approve("carol", (await user.approval()).id)
        await settle()
        assert code(await user.answers("decline")) == "ok"  # it was made before that
    else:
        await user.calls()
        await user.gate.approving.desk.approve("carol", (await user.approval()).id)
        assert code((await user.reply.message())["result"]) == "ok"
        assert (await user.reply.message("notifications/cancelled"))["params"]["requestId"] == user.asked["id"]
    assert ([vote.by for vote in (await user.approval()).votes], user.paid) == (["carol"], 1)


@pytest.mark.parametrize(
    ("policies", "section", "owner", "elicitation"),
    [
        ((ASK, LEADS), ASKED, "bob", None),  # four eyes: what is done for bob, bob does not approve
        ((ASK, OWN), ApprovalsSection(wait_s=0), "bob", None),  # it is off
        ((ASK, OWN), ApprovalsSection(wait_s=0, elicitation=["mail.*"]), "bob", None),
        ((ASK, OWN), ASKED, "dan", None),  # who may approve nothing
        ((ASK, OWN), ASKED, "BOB", None),  # who is not bob
        ((ASK, OWN), ASKED, "", None),
        ((ASK, OWN), ApprovalsSection(wait_s=0), "bob", {"url": {}}),
    ],
)
async def test_nobody_is_asked_who_may_not_say_yes_or_cannot(
    policies: Sequence[str], section: ApprovalsSection, owner: str, elicitation: Any
) -> None:
    for era in ERAS:
        user = User(era, *policies, section=section, owner=owner)
        assert code(await user.calls(elicitation)) == "needs_approval"
        assert (await user.approval()).votes == ()


async def test_a_client_that_offers_no_elicitation_is_told_to_repeat() -> None:
    user = User("legacy")
    await user.peer.initialize()
    result = (await user.peer.legacy("tools/call", PAY).ended()).messages[-1]["result"]
    assert code(result) == "needs_approval"


async def test_one_of_two_is_not_enough_and_is_asked_once(user: User) -> None:
    user = User(user.era, TWO, OWN)
    await user.calls()
    assert code(await user.answers("accept")) == "needs_approval"
    assert code(await user.calls()) == "needs_approval"  # bob has said so already
    await user.gate.approving.desk.approve("carol", (await user.approval()).id)
    assert code(await user.calls()) == "ok"
    assert user.paid == 1


async def test_a_call_with_more_to_it_than_a_question_shows_is_decided_elsewhere(user: User) -> None:
    assert code(await user.calls(call={**PAY, "arguments": {**PAYMENT, "payee": "x" * 8000}})) == "needs_approval"


async def test_a_client_that_goes_to_pages_is_sent_to_the_one_of_its_call_where_no_form_will_do(user: User) -> None:
    long = {**PAY, "arguments": {**PAYMENT, "payee": "x" * 8000}}
    asked = await user.calls({"form": {}, "url": {}}, long)
    approval = (await user.approval()).id
    assert (asked["mode"], asked["elicitationId"]) == ("url", approval)
    assert asked["url"] == f"http://127.0.0.1:8750/-/approve/{approval}"
    assert "payer wants to call payments.pay" in asked["message"]
    answering = asyncio.ensure_future(user.answers("accept"))  # the page is open, and no more is known
    await settle()
    assert (user.paid, answering.done()) == (0, False)
    await user.gate.approving.desk.approve("carol", approval)
    assert (code(await answering), user.paid) == ("ok", 1)


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_who_does_not_go_to_the_page_has_denied_nothing(user: User, action: str) -> None:
    user = User(user.era, ASK, LEADS)  # with four eyes: another person may sit there
    assert (await user.calls({"url": {}}))["mode"] == "url"
    result = await user.answers(action)
    assert (code(result), (await user.approval()).votes) == ("needs_approval", ())
    assert f"/-/approve/{(await user.approval()).id}" in result["content"][0]["text"]


async def test_no_client_is_sent_to_a_page_where_none_is_to_be_had(user: User) -> None:
    user.gate.pages.site.base = ""
    assert code(await user.calls({"url": {}})) == "needs_approval"


async def test_an_answer_that_comes_too_late_does_nothing_and_the_user_is_asked_anew() -> None:
    user = User("modern", section=ApprovalsSection(wait_s=0, elicitation=["*"], expires="1m"))
    await user.calls()
    approval = await user.approval()
    user.gate.clock.passed += 60
    again = await user.answers("accept")
    assert approval.id not in again["message"]
    assert ((await user.gate.approving.approvals.find(approval.id)).votes, user.paid) == ((), 0)


async def test_a_client_that_goes_away_leaves_the_question_open(user: User) -> None:
    await user.calls()
    if user.era == "legacy":
        await user.peer.tell("notifications/cancelled", {"requestId": 2}).ended()
        await user.reply.ended()
    assert ((await user.approval()).state, user.paid) == (ApprovalState.PENDING, 0)
    assert len(user.gate.approving.approvals._ring) == (1 if user.era == "modern" else 0)
    user.peer.front.inputs.stop()


async def test_the_user_that_the_agent_acts_for_is_asked_by_the_name_or_alias_it_was_verified_under() -> None:
    user = User("modern")
    rules = user.gate.rules.current
    user.gate.rules.current = replace(rules, aliases={"carol": ("auth0|4711",)})
    asking = user.gate.approving.eliciting
    call = await user.gate.before(Claim, request("payments_pay"))
    assert asking.person(call.identity) == "bob"
    assert asking.person(replace(call.identity, method="token")) == ""  # a token names no user
    assert asking.person(replace(call.identity, on_behalf_of="auth0|4711")) == "carol"
    assert asking.person(replace(call.identity, on_behalf_of="auth0|47110")) == ""
