"""A fork goes on under another gateway, with what it begins with; that gives it no right there either."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.forking import origin_of
from gateway.ledger.proof import NoProof
from gateway.model.errors import RequestFault
from gateway.model.outcome import Denied, Succeeded
from gateway.pipeline.replay import replay
from gateway.policy import Bundle
from gateway.store.ports import EventFilter
from tests.ledger.forging import resigned
from tests.ledger.test_forking import fork
from tests.ledger.test_importing import There, here
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate
from tests.pipeline.test_resume import TO_BOB, Agent, asked
from tests.pipeline.test_rollback import RULES as UNDOABLE
from tests.store.making import ending, intent


@pytest.fixture
def there(tmp_path: Path) -> There:
    return There(tmp_path)


async def numbers(agent: Agent) -> list[str]:
    calls = [("payments_list", {}), ("payments_pay", PAYMENT), ("payments_settle", TO_BOB), ("payments_pay", TO_BOB)]
    return [(await agent.call(*call))["n"] for call in calls]


def believing(gate: Gate) -> None:
    """Have steps of the other gateway count."""
    bundle = gate.rules.current.bundle
    options = replace(bundle.options, imported=True)
    believes = Bundle.load(bundle.sources, [*bundle.tools.values()], [*bundle.agents.values()], options)
    gate.rules.current = replace(gate.rules.current, bundle=believes)


async def test_a_fork_is_answered_here_with_what_it_began_with_and_what_it_did_there(there: There) -> None:
    told = await numbers(there.agent)
    forked = await fork(there.gate, 3)
    assert (await numbers(forked))[:3] == told[:3]
    source = (await origin_of(there.gate.store, str(forked.run))).run  # type: ignore[union-attr]
    gate = await here(await there.read())
    agent = Agent(gate, run=forked.run, attempt=None)
    assert await numbers(agent) == [*told[:3], "payments-5"]  # the last was made in the fork
    assert asked(gate) == {}
    assert (await agent.call("payments_pay"))["n"] == "payments-1"
    again = Agent(gate, run=forked.run, attempt="a9")
    assert (await numbers(again))[1:] == [told[1], told[2], "payments-5"]
    origin = await origin_of(gate.store, str(forked.run))
    assert (origin is not None, await gate.store.find_run(source)) == (True, None)  # no run of this gateway by that
    assert await gate.store.verify() > 0
    assert {one.verdict async for one in replay(gate.store, EventFilter(limit=10_000))} == {"equal"}


async def test_what_it_begins_with_is_no_step_here_whatever_is_believed_and_is_not_taken_back(tmp_path: Path) -> None:
    anywhere = PRECONDITION.replace(" in run ", " in agent ")
    there = There(tmp_path, PERMIT_ALL, anywhere)
    await there.agent.call("fraud_check")
    forked = await fork(there.gate, 1)
    gate = await here(await there.read(), PERMIT_ALL, anywhere)
    believing(gate)
    agent = Agent(gate, run=forked.run, attempt=None)
    assert (await agent.call("fraud_check"))["n"] == "fraud-1"  # from the record: the other run can pay with it
    assert isinstance((await agent.ended("payments_pay")).outcome, Denied)
    await agent.call("fraud_check")
    assert (await agent.call("payments_pay"))["n"] == "payments-1"
    report = await gate.rollback.plan(str(forked.run))
    assert [step["tool"] for step in report.described()["steps"]] == ["payments.pay"]


async def test_a_fork_of_a_fork_brings_the_calls_that_its_first_ones_were_answered_with(there: There) -> None:
    told = await numbers(there.agent)
    first = await fork(there.gate, 2)
    await first.call("payments_list", {})
    await first.call("payments_pay")
    second = await fork(there.gate, 2, str(first.run))
    gate = await here(await there.read())
    agent = Agent(gate, run=second.run, attempt=None)
    assert [(await agent.call("payments_list", {}))["n"], (await agent.call("payments_pay"))["n"]] == told[:2]
    assert asked(gate) == {}


async def test_two_forks_of_a_run_go_on_under_the_same_gateway(there: There) -> None:
    told = await numbers(there.agent)
    source = await there.run_id()
    long = await fork(there.gate, 4, source)
    gate = await here(await there.read())
    short = await fork(there.gate, 2, source)
    await gate.store.import_run(await there.read())
    agent = Agent(gate, run=short.run, attempt=None)
    assert [(await agent.call("payments_list", {}))["n"], (await agent.call("payments_pay"))["n"]] == told[:2]
    assert (await agent.call("payments_pay", TO_BOB))["n"] == "payments-1"  # behind its beginning
    assert await numbers(Agent(gate, run=long.run, attempt=None)) == told
    assert await gate.store.verify() > 0


async def test_what_was_taken_back_there_is_made_anew_here(tmp_path: Path) -> None:
    there = There(tmp_path)
    there.gate = gate = Gate(PERMIT_ALL, tools=UNDOABLE, store=there.gate.store)
    paid = (await there.agent.ended("payments_pay")).call.id
    source = await there.run_id()
    forked = await fork(there.gate, 1)
    await gate.store.claim(intent("undo", "payments.refund", agent="payer", run_id=source, body={"undoes": paid}))
    await gate.store.finish(ending("undo", compensates=paid))
    ours = await here(await there.read())
    assert (await Agent(ours, run=forked.run, attempt=None).call("payments_pay"))["n"] == "payments-1"
    assert asked(ours) == {"payments": 1}


async def test_a_file_that_names_a_call_of_this_gateway_as_a_first_one_is_refused(there: There) -> None:
    await numbers(there.agent)
    await fork(there.gate, 2)
    run = await there.read()
    begins = run.begins
    assert begins is not None
    gate = await here(run)
    ended = await Agent(gate, run="mine").ended("payments_pay", TO_BOB)
    assert isinstance(ended.outcome, Succeeded)
    other = replace(run.run, id="run_other")
    forged = replace(begins, calls=[replace(begins.calls[0], call_id=ended.call.id)])
    with pytest.raises(RequestFault, match=f"The call {ended.call.id} is on record here already"):
        await gate.store.import_run(replace(run, run=other, key="another", begins=forged, calls=[]))


async def test_a_fork_that_does_not_say_where_it_begins_as_forks_do_is_not_imported(there: There) -> None:
    await numbers(there.agent)
    await fork(there.gate, 2)

    def change(event: dict[str, Any], body: dict[str, Any]) -> None:
        if body.get("what") == "run forked" and "from" in body:
            body["until_seq"] = "all"

    with pytest.raises(NoProof, match="cannot be read by this version"):
        there.read_from(resigned(await there.export(), there.key, change))
