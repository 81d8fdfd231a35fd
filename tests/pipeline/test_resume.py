"""A run begun anew: what it recorded is answered from the record, the next step is carried out, straying is told."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.ledger.recollection import Recollections
from gateway.model.call import Call
from gateway.model.errors import ConnectorFault, RequestFault
from gateway.model.facts import Expected
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown
from gateway.model.tool import Effect
from gateway.pipeline.runner import Ended
from gateway.store.runs import RunCancel
from gateway.transport.answers import tool_result
from gateway.transport.kernel import Answer
from tests.pipeline.gate import JOIN, PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer

TO_BOB = {"payment_id": "p_18", "payee": "BOB", "amount": 7}
LOST = ConnectorFault("no answer", code="timeout")


class Agent:
    """An agent whose calls are delivered to it; it starts again as another attempt at its job."""

    def __init__(self, gate: Gate, name: str = "payer", run: str | None = "job", attempt: str | None = "a1") -> None:
        self.gate = gate
        self.name = name
        self.run = run
        self.attempt = attempt

    async def ended(self, tool: str, arguments: Mapping[str, Any] = PAYMENT, *, arrives: bool = True) -> Ended:
        ended = await self.gate.run(tool, arguments, self.name, run=self.run, attempt=self.attempt)
        outcome = ended.outcome
        if arrives and isinstance(outcome, Succeeded):
            claimed = Answer({}, ended).claimed_call()
            if claimed:
                await self.gate.recollections.deliver(claimed, ended.call.facts.run.attempt)
        return ended

    async def call(self, tool: str, arguments: Mapping[str, Any] = PAYMENT, **more: Any) -> Any:
        """Return the structured content of the answer."""
        outcome = (await self.ended(tool, arguments, **more)).outcome
        assert isinstance(outcome, Succeeded), outcome
        return outcome.result["structuredContent"]


def house(*policies: str, answers: int = 9, **more: Any) -> Gate:
    """A gate whose servers number their answers, so that each tells which call it answered."""
    gate = Gate(*(policies or (PERMIT_ALL,)), **more)
    for name, server in gate.servers.items():
        server.calls += [answer({"n": f"{name}-{number}", "result": "passed"}) for number in range(1, answers)]
    return gate


def asked(gate: Gate) -> dict[str, int]:
    return {name: len(server.asked) for name, server in gate.servers.items() if server.asked}


async def job(agent: Agent) -> list[str]:
    """Three reads and three effects, some of them alike; return which answers they got."""
    made = [
        await agent.call("payments_list", {}),
        await agent.call("fraud_check"),
        await agent.call("payments_pay"),
        await agent.call("payments_list", {}),
        await agent.call("payments_pay", TO_BOB),
        await agent.call("payments_pay"),
    ]
    return [each["n"] for each in made]


FIRST = ["payments-1", "fraud-1", "payments-2", "payments-3", "payments-4", "payments-5"]


async def test_every_recorded_step_is_answered_from_the_record_and_the_next_one_runs() -> None:
    gate = house()
    assert await job(Agent(gate)) == FIRST
    made = asked(gate)
    again = Agent(gate, attempt="a2")
    assert await job(again) == FIRST
    assert asked(gate) == made
    assert (await again.call("payments_pay", TO_BOB))["n"] == "payments-6"
    assert (await again.call("payments_list", {}))["n"] == "payments-7"


@pytest.mark.parametrize("steps", range(1, 6))
async def test_an_agent_that_died_anywhere_goes_on_where_it_was(steps: int) -> None:
    gate = house()
    calls = [("payments_list", {}), ("payments_pay", PAYMENT), ("payments_pay", TO_BOB), ("payments_pay", PAYMENT)]
    for tool, arguments in calls[:steps]:
        await Agent(gate).call(tool, arguments)
    told = [(await Agent(gate, attempt="a2").call(*each))["n"] for each in calls]
    assert told == [f"payments-{number}" for number in range(1, 5)]
    assert asked(gate) == {"payments": 4}


async def test_a_read_that_a_precondition_asks_about_is_answered_from_the_record_too() -> None:
    gate = house(PERMIT_ALL, PRECONDITION)
    for attempt in ("a1", "a2", "a3"):
        agent = Agent(gate, attempt=attempt)
        assert (await agent.call("fraud_check"))["n"] == "fraud-1"
        assert (await agent.call("payments_pay"))["n"] == "payments-1"
    assert asked(gate) == {"fraud": 1, "payments": 1}
    assert isinstance((await agent.ended("payments_pay")).outcome, Denied)  # the check was used up


@pytest.mark.parametrize("once", [True, False])
async def test_a_node_that_its_framework_carries_out_again_pays_once_where_that_is_once_per_run(once: bool) -> None:
    rule = ToolRule(effect=Effect.IRREVERSIBLE, accept_irreversible=True, once_per_run=once)
    gate = house(tools={"payments.pay": rule})
    agent = Agent(gate)  # one process: after an interrupt, or back in time, it makes the call again in the same attempt
    told = [(await agent.call("payments_pay"))["n"] for _ in range(3)]
    assert told == (["payments-1"] * 3 if once else ["payments-1", "payments-2", "payments-3"])
    assert asked(gate) == {"payments": 1 if once else 3}
    assert (await Agent(gate, run="another job").call("payments_pay"))["n"] == f"payments-{2 if once else 4}"


async def test_answers_that_get_lost_while_repeating_do_not_make_a_step_twice() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    again = Agent(gate, attempt="a2")
    for arrives in (False, False, True):
        assert (await again.call("payments_pay", arrives=arrives))["n"] == "payments-1"
    for arrives in (False, False, True):
        assert (await again.call("payments_pay", arrives=arrives))["n"] == "payments-2"
    assert asked(gate) == {"payments": 2}


async def test_a_gateway_that_dies_while_a_run_is_repeated_goes_on_in_the_middle() -> None:
    gate = house()
    await job(Agent(gate))
    await Agent(gate, attempt="a2").call("payments_list", {})
    await Agent(gate, attempt="a2").call("fraud_check")
    after = house(store=gate.store, ids=gate.ids)
    agent = Agent(after, attempt="a2")
    assert (await agent.call("payments_pay"))["n"] == "payments-2"
    assert (await agent.call("payments_list", {}))["n"] == "payments-3"  # not the first one again
    assert asked(after) == {}


async def test_a_label_that_has_not_changed_begins_nothing_anew() -> None:
    gate = house()
    agent = Agent(gate)
    assert [(await agent.call("payments_pay"))["n"] for _ in range(3)] == ["payments-1", "payments-2", "payments-3"]


async def test_an_attempt_that_was_superseded_does_nothing_more() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    await Agent(gate, attempt="a2").call("payments_pay")
    old = await Agent(gate).ended("payments_pay", TO_BOB)
    assert isinstance(old.outcome, Failed)
    assert old.outcome.error.code == "run_superseded"
    assert asked(gate) == {"payments": 1}
    assert (await Agent(gate, attempt="a2").call("payments_pay", TO_BOB))["n"] == "payments-2"


async def test_failed_and_denied_calls_are_tried_again_and_are_no_steps_on_record() -> None:
    gate = house(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls.insert(0, answer({"n": "no"}, isError=True))
    agent = Agent(gate)
    await agent.ended("payments_pay")
    await agent.ended("fraud_check")
    again = Agent(gate, attempt="a2")
    assert (await again.call("fraud_check"))["n"] == "fraud-1"
    assert (await again.ended("payments_pay")).call.facts.expected is None
    assert asked(gate) == {"fraud": 2, "payments": 1}


async def test_a_step_in_doubt_stays_in_doubt() -> None:
    gate = house()
    gate.servers["payments"].calls.insert(0, LOST)
    assert isinstance((await Agent(gate).ended("payments_pay")).outcome, Unknown)
    again = await Agent(gate, attempt="a2").ended("payments_pay")
    assert isinstance(again.outcome, Unknown)
    assert asked(gate) == {"payments": 1}


async def test_an_answer_from_the_record_is_given_under_the_policies_of_today() -> None:
    gate = house()
    await Agent(gate).call("payments_list", {})
    none = '@id("none") forbid (principal, action == Gateway::Action::"payments.list", resource);'
    gate.rules.current = house(none, PERMIT_ALL).rules.current
    assert isinstance((await Agent(gate, attempt="a2").ended("payments_list", {})).outcome, Denied)


# Straying


def diverged(outcome: Outcome, call: Call) -> Any:
    result = tool_result(Ended(call, outcome), lambda name: name)
    return result["_meta"].get("io.toolgate/diverged") if "_meta" in result else None


async def test_other_arguments_than_recorded_run_and_are_told_in_the_answer_and_the_ledger() -> None:
    gate = house()
    await Agent(gate).call("payments_list", {})
    first = await Agent(gate).ended("payments_pay")
    again = Agent(gate, attempt="a2")
    await again.call("payments_list", {})
    strayed = await again.ended("payments_pay", {**PAYMENT, "amount": 251})
    assert strayed.call.facts.expected == Expected(2, "payments.pay", first.call.id)
    told = diverged(strayed.outcome, strayed.call)
    assert told["expected"] == {"step": 2, "tool": "payments.pay", "call": first.call.id}
    assert "another course" in told["message"]
    [claim, _] = await gate.events(strayed.call.id)
    assert json.loads(claim.body)["facts"]["diverged"] == {"n": 2, "tool": "payments.pay", "call": first.call.id}


async def test_another_tool_is_straying_too_also_where_it_is_denied() -> None:
    gate = house(PERMIT_ALL, PRECONDITION)
    await Agent(gate).call("fraud_check")
    denied = await Agent(gate, attempt="a2").ended("payments_pay", TO_BOB)
    assert isinstance(denied.outcome, Denied)
    assert diverged(denied.outcome, denied.call)["expected"]["tool"] == "fraud.check"


async def test_calls_in_another_order_do_not_stray() -> None:
    gate = house()
    await Agent(gate).call("payments_pay")
    await Agent(gate).call("payments_pay", TO_BOB)
    again = Agent(gate, attempt="a2")
    for arguments, expected in ((TO_BOB, "payments-2"), (PAYMENT, "payments-1")):
        ended = await again.ended("payments_pay", arguments)
        assert isinstance(ended.outcome, Succeeded)
        assert ended.outcome.result["structuredContent"]["n"] == expected
        assert diverged(ended.outcome, ended.call) is None
    assert (await again.ended("payments_list", {})).call.facts.expected is None


async def test_a_read_whose_answer_was_not_kept_is_made_again_and_that_is_no_straying() -> None:
    gate = house()
    gate.servers["payments"].calls[:0] = [answer({"n": "x" * 300_000}), answer({"n": "again"})]
    await Agent(gate).ended("payments_list", {})
    again = Agent(gate, attempt="a2")
    ended = await again.ended("payments_list", {})
    assert isinstance(ended.outcome, Succeeded)
    assert ended.outcome.result["structuredContent"] == {"n": "again"}
    assert (await again.ended("payments_pay")).call.facts.expected is None


async def test_the_gateways_own_tools_are_no_steps() -> None:
    gate = house()
    agent = Agent(gate)
    await agent.ended("run_brief", {})
    await agent.call("payments_list", {})
    again = Agent(gate, attempt="a2")
    await again.call("payments_list", {})
    brief = await again.ended("run_brief", {})
    assert isinstance(brief.outcome, Succeeded)
    assert brief.outcome.replayed_from is None
    assert (await again.ended("payments_pay")).call.facts.expected is None


# Ends


async def test_a_cancelled_run_takes_no_further_call_under_its_name_or_its_id() -> None:
    gate = house()
    first = await Agent(gate).ended("payments_list", {})
    run = first.call.facts.run
    await gate.store.cancel_run(RunCancel(run.id, 0, "os:op", "wrong account"))
    await gate.runs.refresh()
    for name, attempt in (("job", "a1"), ("job", "a2"), (run.id, "a1")):
        ended = await Agent(gate, run=name, attempt=attempt).ended("payments_pay")
        assert isinstance(ended.outcome, Failed)
        assert isinstance(ended.outcome.error, RequestFault)
        assert ended.outcome.error.code == "run_cancelled"
    assert asked(gate) == {"payments": 1}
    await Agent(gate, run="another").call("payments_pay")


# Agents together


async def test_another_agent_joins_a_run_only_where_a_policy_lets_it() -> None:
    calls = '@id("calls") permit (principal, action in Gateway::Action::"call_tool", resource);'
    for policies, joins in (((calls,), False), ((calls, JOIN), True)):
        gate = house(*policies)
        run = (await Agent(gate).ended("payments_list", {})).call.facts.run.id
        ended = await Agent(gate, "other", run, None).ended("payments_list", {})
        assert isinstance(ended.outcome, Succeeded) is joins
        if joins:
            assert (ended.call.facts.run.id, ended.call.facts.run.owner) == (run, "payer")
            assert isinstance((await Agent(gate, "other", "job", None).ended("payments_list", {})).outcome, Succeeded)
            assert await gate.store.count_steps(run) == 2  # a name opens a run of one's own


async def test_the_same_read_of_two_agents_in_one_run_is_made_once() -> None:
    gate = house(PERMIT_ALL, JOIN)
    run = (await Agent(gate).ended("fraud_check")).call.facts.run.id
    go, begun = asyncio.Event(), asyncio.Event()

    async def slow(call: Any) -> Mapping[str, Any]:
        begun.set()
        await go.wait()
        return answer({"n": "shared"})

    gate.servers["payments"].calls[:0] = [slow]
    first = asyncio.ensure_future(Agent(gate, run=run).ended("payments_list", {}))
    await begun.wait()
    second = asyncio.ensure_future(Agent(gate, "other", run, None).ended("payments_list", {}))
    own = asyncio.ensure_future(Agent(gate, run=run).ended("payments_list", {}))
    assert isinstance((await own).outcome, Succeeded)  # an agent that asks twice is answered twice
    go.set()
    ended = [await first, await second]
    assert [each.outcome.result["structuredContent"] for each in ended if isinstance(each.outcome, Succeeded)] == [
        {"n": "shared"},
        {"n": "shared"},
    ]
    assert len(gate.servers["payments"].asked) == 2
    assert ended[1].call.attempts[0]["code"] == "shared"
    assert await gate.store.count_steps(run) == 4  # each is on record


async def test_where_one_agent_begins_a_run_anew_the_others_go_on() -> None:
    gate = house(PERMIT_ALL, JOIN)
    run = (await Agent(gate).ended("payments_pay")).call.facts.run.id
    other = Agent(gate, "other", run, None)
    assert (await other.call("payments_pay"))["n"] == "payments-2"
    assert (await Agent(gate, attempt="a2").call("payments_pay"))["n"] == "payments-1"
    assert (await other.call("payments_pay"))["n"] == "payments-3"


async def test_a_record_that_was_tampered_with_answers_nothing() -> None:
    gate = house()
    read = await Agent(gate).ended("payments_list", {})
    events = gate.store._events
    [index] = [number for number, event in enumerate(events) if event.call_id == read.call.id]
    forged = events[index].body.replace("payments-1", "payments-9")
    events[index] = type(events[index])(**{**_fields(events[index]), "body": forged})
    ended = await Agent(gate, attempt="a2").ended("payments_list", {})
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.error.code == "ledger_tampered"


def _fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}


async def test_recollections_are_bounded() -> None:
    gate = house(answers=2)
    recollections = Recollections(gate.store, frozenset())
    run = (await Agent(gate).ended("payments_list", {})).call.facts.run
    for since in range(1, 400):
        await recollections.of(type(run)(run.id, run.owner, run.source, attempt=2, since=since), "payer")
    assert len(recollections._held) == 256
