"""Tools in draft mode: a call makes a draft, people approve it, and naming it carries it out, once."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.approval.config import ApprovalsSection
from gateway.approval.values import Approval
from gateway.catalog.config import ToolRule
from gateway.connector import Rejected
from gateway.model.errors import ConnectorFault, StoreFault
from gateway.model.facts import StepStatus
from gateway.model.outcome import Failed
from gateway.model.request import Undoing
from gateway.pipeline.runner import Ended
from gateway.pipeline.safe import Safe
from gateway.pipeline.sealing import Seal
from gateway.store.approvals import ApprovalState
from gateway.store.memory import MemoryStore
from gateway.store.ports import Record
from gateway.store.tasks import TaskRecord
from tests.fixtures.tasking import TASKS
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, SECRET, Gate, answer, request, settle
from tests.pipeline.people import LEADS, PEOPLE, TWO, paid
from tests.transport.front import Front
from tests.transport.peer import Peer
from tests.transport.tasking import FORBID, Client, result_of

RULES = {"payments.pay": ToolRule(mode="draft")}
HELPED = {"payments.pay": ToolRule(mode="draft", executors=["other"])}
ERAS = ("legacy", "modern")
Json = dict[str, Any]


class Writer:
    """A client whose payments are drafts."""

    def __init__(self, era: str = "legacy", *policies: str, agent: str = "payer", **more: Any) -> None:
        given = {"people": PEOPLE, "tools": RULES, **more}
        self.gate = Gate(PERMIT_ALL, LEADS, *policies, **given)
        self.front = Front(self.gate)
        self.era = era
        self.agent = agent

    def beside(self, agent: str) -> "Writer":
        """Another agent at the same gateway."""
        other = object.__new__(Writer)
        other.gate, other.front, other.era, other.agent = self.gate, self.front, self.era, agent
        return other

    async def call(self, tool: str, arguments: Mapping[str, Any] = PAYMENT, **meta: Any) -> Json:
        peer = Peer(self.front, self.agent)
        asked: Json = {"name": tool, "arguments": dict(arguments), **({"_meta": meta} if meta else {})}
        if self.era == "modern":
            return await result_of(peer.modern("tools/call", asked))
        await peer.initialize()
        return await result_of(peer.legacy("tools/call", asked))

    async def drafts(self, arguments: Mapping[str, Any] = PAYMENT, **meta: Any) -> str:
        """Make a draft; return its id."""
        made = await self.call("payments_pay", arguments, **meta)
        assert "isError" not in made, made
        return str(made["structuredContent"]["draft"])

    async def execute(self, draft: str, **meta: Any) -> Json:
        return await self.call("approvals_execute", {"draft": draft}, **meta)

    async def refused(self, draft: str, **meta: Any) -> tuple[str, str]:
        """With which code and words a draft is not carried out."""
        result = await self.execute(draft, **meta)
        assert result["isError"] is True, result
        return result["_meta"]["io.toolgate/refusal"]["code"], result["content"][0]["text"]

    async def approve(self, draft: str, by: str = "bob") -> Approval:
        return await self.gate.approving.desk.approve(by, draft)

    @property
    def paid(self) -> list[Any]:
        return paid(self.gate)


@pytest.fixture(params=ERAS)
def writer(request: pytest.FixtureRequest) -> Writer:
    return Writer(request.param)


async def test_a_call_makes_a_draft_that_shows_what_it_would_do_and_does_nothing(writer: Writer) -> None:
    made = await writer.call("payments_pay")
    told = made["structuredContent"]
    execute = {"tool": "approvals_execute", "arguments": {"draft": told["draft"]}}
    assert told == {**told, "state": "pending", "tool": "payments_pay", "arguments": PAYMENT, "execute": execute}
    text = made["content"][0]["text"]
    assert f"This is a draft, {told['draft']}. It would call payments_pay {{" in text
    assert "Nothing was done yet: this call needs a person's approval (its approvers)." in text
    assert f'carry it out with approvals_execute {{"draft":"{told["draft"]}"}}' in text
    assert told["message"] == text
    assert writer.paid == []
    assert await writer.drafts() == told["draft"]  # the same draft, not a second one


async def test_an_approved_draft_is_carried_out_once_by_naming_it(writer: Writer) -> None:
    writer.gate.servers["payments"].calls.append(answer({"paid": 1}))
    draft = await writer.drafts()
    assert (await writer.refused(draft))[0] == "approval_pending"
    told = (await writer.execute(draft))["_meta"]["io.toolgate/refusal"]
    assert (told["retryable"], told["retryAfter"] > 0) == (True, True)
    await writer.approve(draft)
    said = await writer.call("approvals_wait", {"approval": draft, "seconds": 0})
    assert said["structuredContent"]["call"] == {"tool": "approvals_execute", "arguments": {"draft": draft}}
    assert "Carry it out with the call that is named here" in said["content"][0]["text"]
    assert (await writer.execute(draft))["structuredContent"] == {"paid": 1}
    assert writer.paid == [PAYMENT]
    code, text = await writer.refused(draft)
    assert (code, writer.paid) == ("approval_over", [PAYMENT])
    assert "was carried out already (#call_" in text


async def test_the_call_itself_is_never_carried_out_however_well_it_was_approved(writer: Writer) -> None:
    draft = await writer.drafts()
    await writer.approve(draft)
    again = await writer.call("payments_pay")
    assert again["structuredContent"]["state"] == "approved"
    assert f'It is approved: carry it out with approvals_execute {{"draft":"{draft}"}}.' in again["content"][0]["text"]
    through = await writer.call("tools_call", {"name": "payments_pay", "arguments": PAYMENT})
    assert (through["structuredContent"]["draft"], writer.paid) == (draft, [])


async def test_a_standing_approval_carries_no_draft_out(writer: Writer) -> None:
    standing = await writer.gate.approving.approvals.grant(
        {"agent": "payer", "on_behalf_of": "", "tool": "payments.pay", "tools": {}, "where": []},
        (await writer.approve(await writer.drafts())).votes[0],
        5,
        writer.gate.clock.now_ms() + 1000,
    )
    await writer.call("payments_pay", {**PAYMENT, "amount": 1})
    assert (writer.paid, (await writer.refused(standing.id))[0]) == ([], "invalid_arguments")


async def test_of_any_number_at_once_one_carries_the_draft_out(writer: Writer) -> None:
    draft = await writer.drafts()
    await writer.approve(draft)
    await asyncio.gather(*(writer.execute(draft) for _ in range(10)))
    assert writer.paid == [PAYMENT]


async def test_two_drafts_of_the_same_call_are_two_calls(writer: Writer) -> None:
    for _ in range(2):
        draft = await writer.drafts()
        await writer.approve(draft)
        assert "isError" not in await writer.execute(draft)
    assert writer.paid == [PAYMENT, PAYMENT]


async def test_what_a_person_changes_is_carried_out_as_they_approved_it_and_not_as_it_was(
    writer: Writer,
) -> None:
    draft = await writer.drafts()
    new = await writer.gate.approving.desk.edit("bob", draft, {**PAYMENT, "amount": 1})
    code, text = await writer.refused(draft)
    assert (code, writer.paid) == ("approval_edited", [])
    assert (
        f'in its place is {new.id}, which calls payments.pay {{"payment_id":"p_17","payee":"ACME","amount":1}}' in text
    )
    assert await writer.drafts() == new.id  # the same call shows what was made of it
    await writer.execute(new.id)
    assert writer.paid == [{**PAYMENT, "amount": 1}]


async def test_a_denied_draft_is_not_carried_out_and_says_why(writer: Writer) -> None:
    draft = await writer.drafts()
    await writer.gate.approving.desk.deny("bob", draft, "not this week")
    assert await writer.refused(draft) == ("approval_denied", "bob was asked and denied this call: not this week")
    again = await writer.call("payments_pay")
    assert again["_meta"]["io.toolgate/refusal"]["code"] == "approval_denied"


@pytest.mark.parametrize("approved", [False, True])
async def test_an_expired_draft_is_not_carried_out(writer: Writer, approved: bool) -> None:
    draft = await writer.drafts()
    if approved:
        await writer.approve(draft)
    writer.gate.clock.passed += 24 * 3600
    code, text = await writer.refused(draft)
    assert (code, writer.paid) == ("approval_over", [])
    assert f"{draft} is expired." in text


async def test_a_draft_of_another_agent_is_not_there(writer: Writer) -> None:
    draft = await writer.drafts()
    await writer.approve(draft)
    other = writer.beside("other")
    refused = await other.refused(draft)
    assert refused == await other.refused("apr_404")
    assert refused == ("invalid_arguments", "There is no draft of that id for you to carry out.")
    said = await other.call("approvals_wait", {"approval": draft})
    assert (said["isError"], writer.paid) == (True, [])


async def test_an_approval_that_is_no_draft_is_carried_out_by_repeating_only() -> None:
    writer = Writer("modern", FORBID.replace("resource);", "resource) when { false };"), TWO, tools={})
    parked = await writer.call("payments_pay")
    approval = parked["_meta"]["io.toolgate/refusal"]["approval"]
    for by in ("bob", "carol"):
        await writer.approve(approval, by)
    assert (await writer.refused(approval))[0] == "invalid_arguments"


async def test_an_executor_carries_out_what_another_agent_drafted_as_itself(writer: Writer) -> None:
    writer = Writer(writer.era, tools=HELPED)
    draft = await writer.drafts()
    other = writer.beside("other")
    said = await other.call("approvals_wait", {"approval": draft, "seconds": 0})
    assert said["structuredContent"]["state"] == "pending"
    await writer.approve(draft)
    assert "isError" not in await other.execute(draft)
    assert writer.paid == [PAYMENT]
    claimed = [event for event in await writer.gate.events() if event.kind == "call.claimed"]
    assert [(event.agent, f'"draft":"{draft}"' in event.body) for event in claimed] == [("other", True)]
    assert (await writer.refused(draft))[0] == "approval_over"


async def test_an_executor_whom_the_policies_do_not_let_make_the_call_does_not() -> None:
    writer = Writer("modern", FORBID.replace("(principal,", '(principal == Gateway::Agent::"other",'), tools=HELPED)
    draft = await writer.drafts()
    await writer.approve(draft)
    code, text = await writer.beside("other").refused(draft)
    assert (code, writer.paid) == ("denied", [])
    assert text.startswith("It was approved and is refused all the same: ")


async def test_half_a_quorum_carries_no_draft_out(writer: Writer) -> None:
    writer = Writer(writer.era, TWO)
    draft = await writer.drafts()
    await writer.approve(draft)
    assert (await writer.refused(draft))[0] == "approval_pending"
    await writer.approve(draft, "carol")
    await writer.execute(draft)
    assert writer.paid == [PAYMENT]


async def test_a_draft_approved_before_the_policies_changed_is_not_carried_out(writer: Writer) -> None:
    draft = await writer.drafts()
    await writer.approve(draft)
    more = '@id("more") forbid (principal, action, resource) when { false };'
    writer.gate.rules.current = Writer("legacy", more).gate.rules.current
    code, text = await writer.refused(draft)
    assert (code, writer.paid) == ("approval_over", [])
    assert "the policies or the tool changed since" in text
    assert await writer.drafts() != draft


async def test_a_draft_whose_approval_is_taken_back_at_the_last_moment_is_not_carried_out() -> None:
    writer = Writer("modern")
    draft = await writer.drafts()
    await writer.approve(draft)
    await writer.gate.approving.desk.withdraw("bob", draft)
    outcome = (await writer.gate.run("payments.pay", draft=draft)).outcome  # as `approvals.execute` asks for it
    assert (isinstance(outcome, Failed), writer.paid) == (True, [])
    assert outcome.error.code == "approval_over"


async def test_a_draft_in_a_run_is_carried_out_in_it() -> None:
    writer = Writer("modern")
    draft = await writer.drafts(**{"io.toolgate/run": "work"})
    await writer.approve(draft)
    await writer.execute(draft)
    claimed = [event for event in await writer.gate.events() if event.kind == "call.claimed"]
    asked = [event for event in await writer.gate.events() if event.kind == "approval.asked"]
    assert (len(writer.paid), claimed[0].run_id) == (1, asked[0].run_id)


async def test_a_draft_carried_out_is_answered_from_the_record_where_its_run_is_begun_anew() -> None:
    writer = Writer("modern")
    writer.gate.servers["payments"].calls.append(answer({"paid": 1}))
    first = {"io.toolgate/run": "work", "io.toolgate/attempt": "one"}
    draft = await writer.drafts(**first)
    await writer.approve(draft)
    await writer.execute(draft, **first)
    again = await writer.execute(draft, **{**first, "io.toolgate/attempt": "two"})
    assert (again["structuredContent"], writer.paid) == ({"paid": 1}, [PAYMENT])


async def test_what_the_server_refuses_is_told_and_the_draft_can_be_carried_out_again(writer: Writer) -> None:
    writer.gate.servers["payments"].calls.append(Rejected("It is closed."))
    draft = await writer.drafts()
    await writer.approve(draft)
    assert (await writer.refused(draft))[0] == "rejected"
    await writer.execute(draft)
    assert writer.paid == [PAYMENT, PAYMENT]


async def test_a_step_that_is_still_running_has_the_draft_wait(writer: Writer) -> None:
    ended = Ended(await writer.gate.before(type(writer.gate.stages[1]), request("payments_pay")), await waits(writer))
    writer.gate.approving.drafting.run = answering(ended)
    draft = await writer.drafts()
    await writer.approve(draft)
    assert (await writer.refused(draft))[0] == "in_progress"


async def rests(gate: Gate) -> str:
    """Return all that is on record, and what is sealed, as text."""
    rows = [str(await gate.store.find_task(f"sealed_{each.id}")) for each in await gate.approving.approvals.listed()]
    return "".join([event.body for event in await gate.events()] + rows)


async def test_a_draft_that_holds_a_secret_is_carried_out_with_it_and_shows_and_keeps_none(writer: Writer) -> None:
    payment = {**PAYMENT, "payee": SECRET}
    made = (await asyncio.gather(*(writer.call("payments_pay", payment) for _ in range(3))))[0]
    draft = made["structuredContent"]["draft"]
    assert made["structuredContent"]["arguments"] == {**PAYMENT, "payee": "[redacted]"}
    assert (await writer.refused(draft))[0] == "approval_pending"
    sealed = await writer.gate.store.find_task(f"sealed_{draft}")
    assert sealed is not None
    assert (sealed.owner, sealed.is_open, [*sealed.body]) == ("", False, ["sealed"])
    await writer.approve(draft)
    writer.gate.servers["payments"].calls += [ConnectorFault("not now", sent=False), answer({"paid": 1})]
    assert (await writer.execute(draft))["structuredContent"] == {"paid": 1}
    assert writer.paid[-1] == payment
    assert (await writer.refused(draft))[0] == "approval_over"
    assert (SECRET in await rests(writer.gate), SECRET in str(made)) == (False, False)
    gone = await writer.gate.store.find_task(f"sealed_{draft}")
    assert gone is not None
    assert gone.body == {}
    assert await writer.gate.store.forget_tasks(writer.gate.clock.now_ms()) == 1
    assert await writer.gate.store.verify() > 0


async def test_what_a_person_puts_in_the_place_of_a_secret_is_what_is_carried_out(writer: Writer) -> None:
    draft = await writer.drafts({**PAYMENT, "payee": SECRET})
    edited = await writer.gate.approving.desk.edit("bob", draft, {**PAYMENT, "payee": "ACME"})
    await writer.execute(edited.id)
    assert writer.paid == [{**PAYMENT, "payee": "ACME"}]


@pytest.mark.parametrize("how", ["another key", "forgotten"])
async def test_a_draft_whose_secret_is_not_kept_any_more_is_carried_out_by_nobody(writer: Writer, how: str) -> None:
    gate = writer.gate
    draft = await writer.drafts({**PAYMENT, "payee": SECRET})
    await writer.approve(draft)
    if how == "forgotten":
        await gate.store.forget_tasks(gate.clock.now_ms() + 30 * 3_600_000)
    else:
        gate.approving.keeps_drafts_in(Safe(gate.store, Seal(b"another key", "drafts"), gate.clock))
    code, text = await writer.refused(draft)
    assert (code, "Make the call again for a new draft" in text) == ("approval_over", True)
    assert writer.paid == []
    again = await writer.drafts({**PAYMENT, "payee": SECRET})
    assert again == draft  # it stands approved, and what it calls with is there again
    assert "isError" not in await writer.execute(draft)
    assert writer.paid == [{**PAYMENT, "payee": SECRET}]


class Full(MemoryStore):
    """Keeps no task: the disk is full."""

    async def begin_task(self, task: TaskRecord, record: Record) -> None:
        raise StoreFault("The task cannot be recorded.")


class Twice(MemoryStore):
    """Is asked by two calls at the same moment."""

    async def begin_task(self, task: TaskRecord, record: Record) -> None:
        await super().begin_task(task, record)
        await super().begin_task(task, record)


async def test_the_same_call_made_twice_at_once_is_one_draft_with_one_secret(writer: Writer) -> None:
    gate = writer.gate
    gate.approving.keeps_drafts_in(Safe(Twice(gate.clock), Seal(b"k", "drafts"), gate.clock))
    payment = {**PAYMENT, "payee": SECRET}
    draft = await writer.drafts(payment)
    await writer.approve(draft)
    assert await writer.drafts(payment) == draft
    await writer.execute(draft)
    assert writer.paid == [payment]


async def test_a_draft_whose_secret_cannot_be_kept_is_refused_for_now(writer: Writer) -> None:
    gate = writer.gate
    gate.approving.keeps_drafts_in(Safe(Full(gate.clock), Seal(b"k", "drafts"), gate.clock))
    made = await writer.call("payments_pay", {**PAYMENT, "payee": SECRET})
    assert made["_meta"]["io.toolgate/refusal"]["code"] == "store_unavailable"


async def test_agents_are_told_that_a_tool_makes_drafts_and_of_no_output_or_task_of_it(writer: Writer) -> None:
    writer = Writer(writer.era, tools={"fraud.check": ToolRule(mode="draft")})
    peer = Peer(writer.front)
    if writer.era == "legacy":
        await peer.initialize()
    listed = (await result_of((peer.legacy if peer.session else peer.modern)("tools/list", {})))["tools"]
    check = next(tool for tool in listed if tool["name"] == "fraud_check")
    assert "outputSchema" not in check
    assert "execution" not in check
    assert check["description"].startswith("(A call makes a draft and does nothing yet: ")
    made = await writer.call("fraud_check")
    await writer.approve(made["structuredContent"]["draft"])
    writer.gate.servers["fraud"].calls.append(answer({"result": "passed", "score": 3}))
    done = await writer.execute(made["structuredContent"]["draft"])
    assert done["structuredContent"] == {"result": "passed", "score": 3}


async def test_a_client_that_follows_tasks_gets_a_draft_and_no_task(writer: Writer) -> None:
    client = await Client(writer.front, writer.era).ready()
    made = await result_of(client.begin({"name": "payments_pay", "arguments": PAYMENT}))
    assert ("draft" in made["structuredContent"], len(writer.gate.tasks), TASKS in made) == (True, 0, False)


async def test_nobody_in_front_of_the_client_is_asked_about_a_draft() -> None:
    writer = Writer("legacy", approvals=ApprovalsSection(wait_s=0, elicitation=["*"]))
    await writer.drafts()
    [approval] = await writer.gate.approving.approvals.listed()
    assert approval.state is ApprovalState.PENDING


async def test_without_anybody_to_ask_no_draft_is_made() -> None:
    gate = Gate(PERMIT_ALL, tools=RULES)
    ended = await gate.run("payments_pay")
    assert "Nobody is configured who could give it" in ended.outcome.decision.message
    assert gate.servers["payments"].asked == []


async def test_what_the_gateway_takes_back_with_a_tool_that_drafts_waits_as_any_other_call() -> None:
    writer = Writer("legacy")
    done = await writer.gate.run("payments_settle")
    undoing = Undoing(done.call.id, done.call.identity)
    asked = request("payments.pay", run=done.call.facts.run.id, undoes=undoing)
    parked = await writer.gate.runner.run(asked)
    approval = parked.outcome.approval
    assert parked.outcome.answer is None
    await writer.approve(approval)
    await writer.gate.runner.run(asked)
    assert writer.paid[-1] == PAYMENT


async def waits(writer: Writer) -> Any:
    return (await writer.gate.run("payments_pay")).outcome


def answering(ended: Ended) -> Any:
    async def run(asked: Any) -> Ended:
        del asked
        return ended

    return run


async def test_a_crash_while_a_draft_is_carried_out_leaves_it_in_doubt_and_used() -> None:
    writer, never = Writer("modern"), asyncio.Event()
    writer.gate.servers["payments"].calls.append(never)
    draft = await writer.drafts()
    await writer.approve(draft)
    doing = asyncio.ensure_future(writer.execute(draft))
    while not writer.paid:
        await asyncio.sleep(0)
    later = Writer("modern", store=writer.gate.store, clock=writer.gate.clock, ids=writer.gate.ids)
    [left] = await later.gate.recorder.recover()
    assert left.status is StepStatus.EXECUTING
    code, text = await later.refused(draft)
    assert (code, later.paid) == ("approval_over", [])
    assert f"#{left.call_id}" in text
    never.set()
    await asyncio.gather(doing, return_exceptions=True)
    await settle()
