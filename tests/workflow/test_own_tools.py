"""`run.start`: the calls that follow belong to a new piece of work."""

import pytest

from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.workflow.own_tools import OWN_SERVER, OWN_TOOLS
from tests.fixtures.clock import FakeClock
from tests.pipeline.broken import BreakingStore
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, caller

PASSED = answer({"result": "passed"})


async def started(gate: Gate, session: str | None = None, agent: str = "payer") -> str:
    ended = await gate.run("run_start", {}, caller=caller(agent, session))
    assert isinstance(ended.outcome, Succeeded)
    run: str = ended.outcome.result["structuredContent"]["run"]
    assert run in ended.outcome.result["content"][0]["text"]
    return run


async def run_of(gate: Gate, session: str | None = None, agent: str = "payer", run: str | None = None) -> str:
    ended = await gate.run("payments_list", {}, caller=caller(agent, session), run=run)
    return ended.call.facts.run.id


@pytest.mark.parametrize("session", [None, "s_1"])
async def test_the_calls_that_follow_belong_to_the_run_that_was_started(session: str | None) -> None:
    gate = Gate()
    before = await run_of(gate, session)
    run = await started(gate, session)
    assert run != before
    assert [await run_of(gate, session), await run_of(gate, session)] == [run, run]
    assert await started(gate, session) != run


async def test_a_run_is_started_for_one_conversation_only() -> None:
    gate = Gate()
    run = await started(gate, "s_1")
    assert run not in {await run_of(gate, "s_2"), await run_of(gate), await run_of(gate, "s_1", "other")}


async def test_a_started_run_can_be_named_by_its_owner_and_by_nobody_else() -> None:
    gate = Gate()
    run = await started(gate, "s_1")
    assert await run_of(gate, "s_2", run=run) == run
    ended = await gate.run("payments_list", {}, agent="other", run=run)
    assert isinstance(ended.outcome, Failed)


async def test_a_check_made_before_the_run_was_started_does_not_count_in_it() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls += [PASSED, PASSED]
    await gate.run("fraud_check")
    await started(gate)
    assert isinstance((await gate.run("payments_pay", PAYMENT)).outcome, Denied)
    await gate.run("fraud_check")
    assert isinstance((await gate.run("payments_pay", PAYMENT)).outcome, Succeeded)


async def test_arguments_are_refused_and_a_policy_may_forbid_it() -> None:
    gate = Gate('@id("none") forbid (principal, action == Gateway::Action::"run.start", resource);', PERMIT_ALL)
    assert isinstance((await gate.run("run_start", {"a": 1})).outcome, Failed)
    assert isinstance((await gate.run("run_start", {})).outcome, Denied)


async def test_a_run_that_cannot_be_recorded_is_not_started() -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(store=store)
    before = await run_of(gate)
    store.breaks("open_run")
    assert isinstance((await gate.run("run_start", {})).outcome, Failed)
    store.heal()
    assert await run_of(gate) == before


def test_own_tools_are_reads_that_stand_under_their_own_server() -> None:
    assert OWN_SERVER == "run"
    assert all(tool["annotations"]["readOnlyHint"] for tool in OWN_TOOLS)
    assert [tool["name"] for tool in OWN_TOOLS] == [
        "start",
        "resume",
        "brief",
        "history",
        "delegate",
        "revoke",
        "passport",
    ]
