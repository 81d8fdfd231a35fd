"""The ways out of doubt: a look-up, the same call again where its key keeps it to one effect, else a person."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.catalog.catalog import Declared, Live
from gateway.catalog.config import ToolRule
from gateway.catalog.lookups import LookupRule
from gateway.codec import digest
from gateway.connector import LOOKUP, NotDone, ToolCall
from gateway.ledger.settle import settle
from gateway.model.errors import ConnectorFault
from gateway.model.facts import StepStatus
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown
from gateway.model.request import CallRequest
from gateway.model.tool import Effect
from gateway.pipeline.rules import Rules
from gateway.store.ports import EventKind, Recorded
from gateway.store.runs import RunCancel
from tests.fixtures.clock import FakeClock
from tests.pipeline.broken import BreakingStore
from tests.pipeline.gate import DEFINITIONS, PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, rules_of

LOST = ConnectorFault("no answer", code="timeout")
FOUND = answer({"found": True, "receipt": "r_1"})
MISSING = answer({"found": False})
BY_LIST = LookupRule(tool="payments.list", arguments={"constant": {"limit": 1}})  # type: ignore[arg-type]


def ruled(*policies: str, **rules: Any) -> Rules:
    """The rules of the gate, with more said of `payments.pay`."""
    paying = ToolRule(effect="irreversible", **rules)  # type: ignore[arg-type]
    return rules_of(*(policies or (PERMIT_ALL,)), tools={"payments.pay": paying})


async def doubtful(gate: Gate, tool: str = "payments_pay", **more: Any) -> str:
    """Lose the answer to a payment; return its id. A tool with a key is asked again at once, in vain."""
    gate.servers["payments"].calls += [LOST] * 9
    ended = await gate.run(tool, **more)
    assert isinstance(ended.outcome, Unknown)
    gate.servers["payments"].calls.clear()
    gate.servers["payments"].asked.clear()
    return ended.call.id


async def settled(gate: Gate, call_id: str) -> Recorded:
    made = await gate.store.made(call_id)
    assert made is not None
    return made


def structured(outcome: Outcome | None) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result["structuredContent"]


# Looked up by a read


async def test_a_repeat_is_answered_with_what_a_read_finds(gate: Gate) -> None:
    gate.rules.current = ruled(lookup=BY_LIST)
    call_id = await doubtful(gate)
    gate.servers["payments"].calls.append(FOUND)
    repeat = await gate.run("payments_pay")
    assert structured(repeat.outcome) == {"found": True, "receipt": "r_1"}
    assert isinstance(repeat.outcome, Succeeded)
    assert repeat.outcome.replayed_from == call_id
    assert [asked.tool for asked in gate.servers["payments"].asked] == ["list"]
    made = await settled(gate, call_id)
    assert made.end_body is not None
    assert (made.status, made.end_body["settled"]["by"]) == (StepStatus.SUCCEEDED, "lookup")
    assert await gate.kinds(call_id) == [EventKind.CALL_CLAIMED, EventKind.CALL_FINISHED, EventKind.CALL_SETTLED]
    assert await gate.store.verify() > 0


async def test_what_has_not_happened_is_made_by_the_repeat(gate: Gate) -> None:
    gate.rules.current = ruled(lookup=BY_LIST)
    call_id = await doubtful(gate)
    gate.servers["payments"].calls += [MISSING, answer({"receipt": "r_2"})]
    assert structured((await gate.run("payments_pay")).outcome) == {"receipt": "r_2"}
    assert (await settled(gate, call_id)).status is StepStatus.FAILED
    assert [asked.tool for asked in gate.servers["payments"].asked] == ["list", "pay"]


@pytest.mark.parametrize(
    "said",
    [
        answer({"receipt": "r_1"}),  # neither
        answer({"found": True}, isError=True),
        {"content": [], "resultType": "input_required"},
        ConnectorFault("down", code="unavailable", sent=False),
    ],
)
async def test_an_answer_that_says_neither_leaves_it_in_doubt(gate: Gate, said: Any) -> None:
    gate.rules.current = ruled(lookup=BY_LIST)
    call_id = await doubtful(gate)
    gate.servers["payments"].calls += [said] * 3
    repeat = await gate.run("payments_pay")
    assert isinstance(repeat.outcome, Unknown)
    assert f"toolgate runs settle {call_id}" in repeat.outcome.error.message
    assert {asked.tool for asked in gate.servers["payments"].asked} == {"list"}


async def test_conditions_that_contradict_each_other_leave_it_in_doubt(gate: Gate) -> None:
    rule = LookupRule(tool="payments.list", happened={"n": "> 0"}, absent={"n": "> 0"})
    gate.rules.current = ruled(lookup=rule)
    await doubtful(gate)
    gate.servers["payments"].calls.append(answer({"n": 1}))
    assert isinstance((await gate.run("payments_pay")).outcome, Unknown)


async def test_a_lookup_is_given_the_arguments_it_knows_and_the_key(gate: Gate) -> None:
    rule = LookupRule(
        tool="mail.find",
        arguments={"rename": {"payment_id": "reference"}},  # type: ignore[arg-type]
        key="key",
        happened={"state": "paid"},
        absent={"state": "none"},
        result={"rename": {"id": "receipt"}, "drop": ["state"]},  # type: ignore[arg-type]
    )
    find = {
        "name": "find",
        "inputSchema": {"type": "object", "properties": {"reference": {"type": "string"}, "key": {"type": "string"}}},
        "annotations": {"readOnlyHint": True},
    }
    paying = ToolRule(effect="irreversible", lookup=rule)  # type: ignore[arg-type]
    finding = ToolRule(effect="read")  # type: ignore[arg-type]
    gate.rules.current = rules_of(
        PERMIT_ALL,
        tools={"payments.pay": paying, "mail.find": finding},
        definitions={**DEFINITIONS, "mail": [find]},
    )
    call_id = await doubtful(gate)
    gate.servers["mail"].calls.append(answer({"state": "paid", "id": "r_7"}))
    assert structured((await gate.run("payments_pay")).outcome) == {"receipt": "r_7"}
    [asked] = gate.servers["mail"].asked
    assert asked.arguments == {"reference": "p_17", "key": call_id}


@pytest.mark.parametrize("tool", ["payments.settle", "nowhere.find"])
async def test_only_a_read_is_ever_asked(gate: Gate, tool: str) -> None:
    gate.rules.current = ruled(lookup=tool)
    await doubtful(gate)
    assert isinstance((await gate.run("payments_pay")).outcome, Unknown)
    assert gate.servers["payments"].asked == []


async def test_arguments_that_are_no_question_to_the_lookup_leave_it_in_doubt(gate: Gate) -> None:
    gate.rules.current = ruled(lookup="fraud.check")
    await doubtful(gate, arguments={"payment_id": "p_17", "payee": "ACME"})
    wrong = LookupRule(tool="fraud.check", arguments={"drop": ["payee"]})  # type: ignore[arg-type]
    gate.rules.current = ruled(lookup=wrong)
    repeat = await gate.run("payments_pay", {"payment_id": "p_17", "payee": "ACME"})
    assert isinstance(repeat.outcome, Unknown)
    assert gate.servers["fraud"].asked == []


async def test_an_answer_that_would_be_no_answer_of_the_tool_leaves_it_in_doubt(gate: Gate) -> None:
    rule = LookupRule(tool="payments.list", result={"drop": ["found"]})  # type: ignore[arg-type]
    gate.rules.current = ruled(lookup=rule)
    await doubtful(gate)
    gate.servers["payments"].calls.append({"content": [{"type": "text", "text": '[{"found": true}]'}]})
    assert isinstance((await gate.run("payments_pay")).outcome, Unknown)


async def test_an_answer_that_cannot_be_put_into_the_shape_of_a_result_leaves_it_in_doubt(gate: Gate) -> None:
    rule = LookupRule(
        tool="payments.list",
        happened={"*.state": "paid"},
        absent={"*.state": "none"},
        result={"drop": ["state"]},  # type: ignore[arg-type]
    )
    gate.rules.current = ruled(lookup=rule)
    call_id = await doubtful(gate)
    gate.servers["payments"].calls.append({"content": [{"type": "text", "text": '[{"state": "paid"}]'}]})
    assert isinstance((await gate.run("payments_pay")).outcome, Unknown)
    assert (await settled(gate, call_id)).status is StepStatus.UNKNOWN


async def test_what_somebody_else_settles_meanwhile_is_in_doubt_no_more(gate: Gate) -> None:
    gate.rules.current = ruled(lookup=BY_LIST)
    call_id = await doubtful(gate)

    async def late(call: ToolCall) -> Mapping[str, Any]:
        said = {"by": "os:op", "note": "", "result": {"receipt": "r_9"}}
        await settle(gate.store, call_id, StepStatus.SUCCEEDED, said, gate.clock.now_ms())
        return FOUND

    gate.servers["payments"].calls.append(late)
    assert structured((await gate.run("payments_pay")).outcome) == {"receipt": "r_9"}


# Looked up by the connector itself


async def test_a_connector_that_can_is_asked_itself(gate: Gate) -> None:
    gate.rules.current = by_connector()
    call_id = await doubtful(gate)
    gate.servers["payments"].calls.append(answer({"receipt": "r_1"}))
    assert structured((await gate.run("payments_pay")).outcome) == {"receipt": "r_1"}
    [asked] = gate.servers["payments"].asked
    assert (asked.method, asked.call_id, asked.tool, asked.arguments) == (LOOKUP, call_id, "pay", PAYMENT)


async def test_a_connector_says_that_it_has_not_happened(gate: Gate) -> None:
    gate.rules.current = by_connector()
    call_id = await doubtful(gate)
    gate.servers["payments"].calls += [NotDone(), answer({"receipt": "r_2"})]
    assert structured((await gate.run("payments_pay")).outcome) == {"receipt": "r_2"}
    assert (await settled(gate, call_id)).status is StepStatus.FAILED


def by_connector() -> Rules:
    declared = {"pay": Declared(Effect.IRREVERSIBLE, lookup=True)}
    return rules_of(PERMIT_ALL, live={"payments": Live(list(DEFINITIONS["payments"]), declared)})


async def test_an_answer_of_a_connector_that_breaks_its_contract_leaves_it_in_doubt(gate: Gate) -> None:
    declared = {"check": Declared(Effect.WRITE, lookup=True)}
    checking = ToolRule(effect="write")  # type: ignore[arg-type]
    live = {"fraud": Live(list(DEFINITIONS["fraud"]), declared)}
    gate.rules.current = rules_of(PERMIT_ALL, tools={"fraud.check": checking}, live=live)
    gate.servers["fraud"].calls += [LOST, answer({"score": 1})]
    assert isinstance((await gate.run("fraud_check")).outcome, Unknown)
    assert isinstance((await gate.run("fraud_check")).outcome, Unknown)
    assert [asked.method for asked in gate.servers["fraud"].asked] == ["tools/call", LOOKUP]


# Made again


async def test_a_call_whose_key_keeps_it_to_one_effect_is_made_again_by_its_repeat(gate: Gate) -> None:
    call_id = await doubtful(gate, "payments_settle")
    gate.servers["payments"].calls.append(answer({"receipt": "r_1"}))
    repeat = await gate.run("payments_settle")
    assert structured(repeat.outcome) == {"receipt": "r_1"}
    assert isinstance(repeat.outcome, Succeeded)
    assert repeat.outcome.replayed_from == call_id
    made = await settled(gate, call_id)
    assert made.end_body is not None
    assert (made.status, made.end_body["settled"]["by"]) == (StepStatus.SUCCEEDED, "repetition")
    [asked] = gate.servers["payments"].asked
    assert asked.idempotency_key is not None
    assert structured((await gate.run("payments_settle")).outcome) == {"receipt": "r_1"}
    assert len(gate.servers["payments"].asked) == 1
    assert await gate.store.verify() > 0


async def test_made_again_in_vain_it_is_in_doubt_as_before(gate: Gate) -> None:
    call_id = await doubtful(gate, "payments_settle")
    gate.servers["payments"].calls += [LOST] * 9
    assert isinstance((await gate.run("payments_settle")).outcome, Unknown)
    assert (await settled(gate, call_id)).status is StepStatus.UNKNOWN
    gate.servers["payments"].calls.clear()
    assert isinstance((await gate.run("payments_settle")).outcome, Succeeded)


async def test_made_again_and_refused_it_has_failed_and_its_key_is_free(gate: Gate) -> None:
    call_id = await doubtful(gate, "payments_settle")
    gate.servers["payments"].calls.append(ConnectorFault("no such payee", code="rejected"))
    refused = await gate.run("payments_settle")
    assert isinstance(refused.outcome, Failed)
    assert (await settled(gate, call_id)).status is StepStatus.FAILED
    assert isinstance((await gate.run("payments_settle")).outcome, Succeeded)
    assert await gate.store.verify() > 0


async def test_made_again_it_is_on_record_also_where_a_person_settled_it_meanwhile(gate: Gate) -> None:
    call_id = await doubtful(gate, "payments_settle")

    async def meanwhile(call: ToolCall) -> Mapping[str, Any]:
        said = {"by": "os:op", "note": "the bank says so"}
        await settle(gate.store, call_id, StepStatus.SUCCEEDED, said, gate.clock.now_ms())
        return answer({"receipt": "r_1"})

    gate.servers["payments"].calls.append(meanwhile)
    ended = await gate.run("payments_settle")
    assert structured(ended.outcome) == {"receipt": "r_1"}
    assert await gate.kinds(ended.call.id) == [EventKind.CALL_RECORDED]


async def test_made_again_while_the_store_fails_it_is_on_record_in_the_end() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    call_id = await doubtful(gate, "payments_settle")
    store.breaks("record")
    ended = await gate.run("payments_settle")
    assert isinstance(ended.outcome, Unknown)
    store.heal()
    assert await gate.owned.drain(60.0) == 0
    assert await gate.kinds(ended.call.id) == [EventKind.CALL_RECORDED]
    assert (await settled(gate, call_id)).status is StepStatus.SUCCEEDED


async def test_two_repeats_at_once_make_it_once(gate: Gate) -> None:
    await doubtful(gate, "payments_settle")
    go = asyncio.Event()

    async def slow(call: ToolCall) -> Mapping[str, Any]:
        await go.wait()
        return answer({"receipt": "r_1"})

    gate.servers["payments"].calls.append(slow)
    first, second = (asyncio.ensure_future(gate.run("payments_settle")) for _ in range(2))
    while not gate.servers["payments"].asked:
        await asyncio.sleep(0)
    go.set()
    assert structured((await first).outcome) == structured((await second).outcome) == {"receipt": "r_1"}
    assert len(gate.servers["payments"].asked) == 1


# What a crash left


class Enough(Exception):
    """The watch has gone through all doubts once."""


class Crashed:
    """A gateway that stopped in the middle of a call, and the one that comes after it."""

    def __init__(self, *policies: str) -> None:
        self.before = Gate(*(policies or (PERMIT_ALL,)))
        self.after = Gate(*(policies or (PERMIT_ALL,)), store=self.before.store, ids=self.before.ids)

    async def during(self, tool: str, arguments: Mapping[str, Any] = PAYMENT, **more: Any) -> str:
        """Stop while the server works on a call; return its id."""
        self.before.servers["payments"].calls.append(asyncio.Event())
        going = asyncio.ensure_future(self.before.run(tool, arguments, **more))
        while not self.before.servers["payments"].asked:
            await asyncio.sleep(0)
        [left] = await self.before.store.unfinished()
        going.cancel()
        return left.call_id

    async def recovered(self) -> list[CallRequest]:
        """Start the other one; return what it makes again, having looked after all doubts once."""
        left = await self.after.recorder.recover(is_read=self.after.doubts.is_read)
        again: list[CallRequest] = []

        async def run(request: CallRequest) -> None:
            again.append(request)
            await self.after.runner.run(request)

        class Once(FakeClock):
            async def sleep(self, seconds: float) -> None:
                raise Enough

        object.__setattr__(self.after.doubts._asked, "clock", Once())
        with pytest.raises(Enough):
            await self.after.doubts.watch(run, left)
        return again


async def test_after_a_crash_a_call_with_a_key_is_made_again_in_the_name_of_who_made_it() -> None:
    crashed = Crashed()
    call_id = await crashed.during("payments_settle", run="job")
    crashed.after.servers["payments"].calls.append(answer({"receipt": "r_1"}))
    [again] = await crashed.recovered()
    assert again.repeats is not None
    assert again.repeats.call_id == call_id
    assert (await settled(crashed.after, call_id)).status is StepStatus.SUCCEEDED
    [before], [asked] = crashed.before.servers["payments"].asked, crashed.after.servers["payments"].asked
    assert asked.idempotency_key == before.idempotency_key
    assert structured((await crashed.after.run("payments_settle", run="job")).outcome) == {"receipt": "r_1"}
    assert len(crashed.after.servers["payments"].asked) == 1


async def test_after_a_crash_it_is_not_made_again_where_a_policy_forbids_it_by_now() -> None:
    crashed = Crashed()
    call_id = await crashed.during("payments_settle")
    never = '@id("never") forbid (principal, action == Gateway::Action::"payments.settle", resource);'
    crashed.after.rules.current = rules_of(PERMIT_ALL, never)
    await crashed.recovered()
    assert (await settled(crashed.after, call_id)).status is StepStatus.UNKNOWN
    assert crashed.after.servers["payments"].asked == []


@pytest.mark.parametrize("how", ["cancelled", "paused"])
async def test_after_a_crash_nothing_is_made_again_in_a_run_that_was_stopped(how: str) -> None:
    crashed = Crashed()
    call_id = await crashed.during("payments_settle", run="job")
    run = (await settled(crashed.after, call_id)).run_id
    if how == "paused":
        await crashed.after.pause(f"run:{run}")
    else:
        await crashed.after.store.cancel_run(RunCancel(run, 0, "os:op"))
    await crashed.recovered()
    assert crashed.after.servers["payments"].asked == []


async def test_after_a_crash_what_has_no_key_is_looked_up_or_left_to_a_person() -> None:
    for rules, status in ((ruled(lookup=BY_LIST), StepStatus.SUCCEEDED), (ruled(), StepStatus.UNKNOWN)):
        crashed = Crashed()
        call_id = await crashed.during("payments_pay")
        crashed.after.rules.current = rules
        crashed.after.servers["payments"].calls.append(FOUND)
        assert await crashed.recovered() == []
        assert (await settled(crashed.after, call_id)).status is status
        assert (call_id in crashed.after.doubts.open) is (status is StepStatus.UNKNOWN)


async def test_after_a_crash_a_read_has_failed_and_is_simply_made_again() -> None:
    crashed = Crashed(PERMIT_ALL, PRECONDITION)
    crashed.before.servers["payments"], crashed.before.servers["fraud"] = (
        crashed.before.servers["fraud"],
        crashed.before.servers["payments"],
    )
    call_id = await crashed.during("fraud_check")
    assert await crashed.recovered() == []
    assert (await settled(crashed.after, call_id)).status is StepStatus.FAILED
    crashed.after.servers["fraud"].calls.append(answer({"result": "passed"}))
    assert isinstance((await crashed.after.run("fraud_check")).outcome, Succeeded)


async def test_arguments_that_are_not_on_record_as_they_were_are_not_made_again_nor_asked_about() -> None:
    crashed = Crashed()
    call_id = await crashed.during("payments_settle", {**PAYMENT, "payee": "sk-upstream-0123456789"})
    made = await settled(crashed.after, call_id)
    assert digest(made.claim_body["arguments"]) != made.arguments_digest
    assert await crashed.recovered() == []
    settling = ToolRule(effect="write", lookup=BY_LIST)  # type: ignore[arg-type]
    crashed.after.rules.current = rules_of(PERMIT_ALL, tools={"payments.settle": settling})
    assert not await crashed.after.doubts.look(made)
    assert crashed.after.servers["payments"].asked == []


async def test_doubts_that_cannot_be_read_or_settled_stay_and_are_asked_about_again() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    gate.rules.current = ruled(lookup=BY_LIST)
    call_id = await doubtful(gate)
    gate.servers["payments"].calls.append(FOUND)
    store.breaks("settle")
    assert isinstance((await gate.run("payments_pay")).outcome, Unknown)
    store.heal()
    store.breaks("in_doubt")
    assert await gate.doubts._in_doubt() == []
    store.heal()
    store.breaks("made")
    assert await gate.doubts._still(call_id) is None
    store.heal()


# Dependents


async def test_a_step_that_depends_on_one_in_doubt_is_told_so_and_what_ends_it(gate: Gate) -> None:
    needs = """
    @id("mail.paid") @prior("pay: payments.pay in run") @remedy("payments.pay")
    forbid (principal, action == Gateway::Action::"mail.send", resource)
    unless { context.prior has pay && context.prior.pay.status == "ok" };
    """
    gate.rules.current = ruled(PERMIT_ALL, needs)
    call_id = await doubtful(gate)
    mailed = await gate.run("mail_send", {"to": "ann"})
    assert isinstance(mailed.outcome, Denied)
    assert f"payments.pay #{call_id} is in doubt" in mailed.outcome.decision.message
    assert f"toolgate runs settle {call_id} succeeded|failed" in mailed.outcome.decision.message
    assert mailed.outcome.decision.remedies == ()
    assert mailed.outcome.decision.waits_for is None


@pytest.fixture
def gate() -> Gate:
    return Gate()
