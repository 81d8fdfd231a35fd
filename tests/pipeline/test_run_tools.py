"""`run.resume`, `run.brief`, `run.history`: what an agent is told of its runs, and nothing of others'."""

import asyncio
from typing import Any

import pytest

from gateway.model.errors import ConnectorFault
from gateway.model.outcome import Failed, Succeeded
from tests.pipeline.gate import JOIN, PAYMENT, PERMIT_ALL, Gate, answer

LOST = ConnectorFault("no answer", code="timeout")


@pytest.fixture
def gate() -> Gate:
    gate = Gate()
    gate.servers["fraud"].calls += [answer({"result": "passed", "score": n}) for n in range(9)]
    return gate


async def told(gate: Gate, tool: str, arguments: dict[str, Any], agent: str = "payer", run: str = "job") -> Any:
    ended = await gate.run(tool, arguments, agent, run=run)
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    result = ended.outcome.result
    return result.get("structuredContent", result["content"][0]["text"])


async def history(gate: Gate, agent: str = "payer", run: str = "job", **asked: Any) -> list[dict[str, Any]]:
    found = await told(gate, "run_history", asked, agent, run)
    calls: list[dict[str, Any]] = found["calls"]
    return calls


async def refused(gate: Gate, tool: str, arguments: dict[str, Any]) -> str:
    ended = await gate.run(tool, arguments, run="job")
    assert isinstance(ended.outcome, Failed)
    return ended.outcome.error.message


async def test_history_returns_exactly_the_calls_with_these_values_the_latest_first(gate: Gate) -> None:
    for number in (17, 18, 17):
        await gate.run("fraud_check", {**PAYMENT, "payment_id": f"p_{number}"}, run="job")
    await gate.run("payments_pay", run="job")
    found = await history(gate, tool="fraud_check", match={"payment_id": "p_17"})
    assert [each["result"]["structuredContent"]["score"] for each in found] == [2, 0]
    assert {(each["tool"], each["outcome"], each["agent"]) for each in found} == {("fraud.check", "succeeded", "payer")}
    assert found[0]["arguments"] == PAYMENT
    assert found[0]["at"].startswith("2027-01-15T08:00")
    assert await history(gate, tool="fraud.*", match={"payment_id": "p_1"}) == []  # nothing like it: exactly it
    assert await history(gate, tool="payments.pay", match={"amount": 250.0}) != []
    assert await history(gate, match={"amount": "250"}) == []
    assert await history(gate, match={"amount": True}) == []
    assert await history(gate, match={"payee.name": "ACME"}) == []


async def test_history_can_be_bounded_in_time_and_number(gate: Gate) -> None:
    for _ in range(3):
        await gate.run("fraud_check", run="job")
        await gate.clock.sleep(60)
    assert len(await history(gate, tool="fraud.check", since="90s")) == 1
    assert len(await history(gate, tool="fraud.check", since="3m")) == 3
    assert len(await history(gate, tool="fraud.check", since="2027-01-15T08:01:00Z")) == 2
    assert len(await history(gate, tool="fraud.check", since="2027-01-15T08:01:00")) == 2
    found = await told(gate, "run_history", {"tool": "fraud.check", "limit": 2})
    assert (len(found["calls"]), found["more"]) == (2, True)
    assert "15m" in await refused(gate, "run_history", {"since": "yesterday"})


async def test_history_of_an_agent_goes_beyond_the_run_and_never_beyond_the_agent(gate: Gate) -> None:
    await gate.run("fraud_check", run="monday")
    await gate.run("fraud_check", agent="other", run="monday")
    assert await history(gate) == []
    assert [each["agent"] for each in await history(gate, scope="agent")] == ["payer"]


async def test_of_another_agents_calls_in_a_run_only_that_they_were_made_is_told() -> None:
    gate = Gate(PERMIT_ALL, JOIN)
    run = (await gate.run("fraud_check", run="job")).call.facts.run.id
    [seen] = await history(gate, "other", run, tool="fraud.check")
    assert set(seen) == {"call", "tool", "at", "agent", "outcome"}
    assert await history(gate, "other", run, match={"payee": "ACME"}) == []
    assert "ACME" not in await told(gate, "run_brief", {}, "other", run)


async def test_large_results_are_told_by_their_size(gate: Gate) -> None:
    gate.servers["payments"].calls.append(answer({"receipt": "x" * 5000}))
    await gate.run("payments_pay", run="job")
    [found] = await history(gate, tool="payments.pay")
    assert found["result_bytes"] > 5000
    assert "result" not in found


async def test_repeats_answered_from_the_record_are_no_history(gate: Gate) -> None:
    for _ in range(2):
        await gate.run("payments_pay", run="job")  # not delivered: the second is answered from the record
    assert len(await history(gate, tool="payments.pay")) == 1


async def test_a_failed_call_is_told_with_its_code(gate: Gate) -> None:
    gate.servers["payments"].calls.append(ConnectorFault("no", code="rejected"))
    await gate.run("payments_pay", run="job")
    [found] = await history(gate, tool="payments.pay")
    assert (found["outcome"], found["code"], "result" in found) == ("failed", "rejected", False)


async def test_a_brief_says_first_what_is_in_doubt_and_then_the_last_steps(gate: Gate) -> None:
    gate.servers["payments"].calls.append(LOST)
    doubtful = await gate.run("payments_pay", run="job")
    for number in range(5):
        await gate.run("fraud_check", {**PAYMENT, "payment_id": f"p_{number}"}, run="job")
    brief: list[str] = (await told(gate, "run_brief", {})).splitlines()
    assert "of payer: 6 calls so far" in brief[0]
    assert brief[1].startswith("IN DOUBT")
    assert doubtful.call.id in brief[1]
    assert brief[2].startswith('Step 6: fraud.check {"payment_id":"p_4"')
    assert '"score":4' in brief[2]
    assert len(brief) == 8


@pytest.mark.parametrize("ceiling", [200, 400, 1000])
async def test_a_brief_stays_below_its_ceiling_however_long_the_run(gate: Gate, ceiling: int) -> None:
    gate.servers["payments"].calls += [LOST] * 40
    for number in range(40):
        await gate.run("payments_pay", {**PAYMENT, "payee": "é" * 100, "payment_id": f"p_{number}"}, run="job")
    brief = await told(gate, "run_brief", {"max_tokens": ceiling})
    assert len(brief) <= ceiling * 3
    assert "(There is more: run_history.)" in brief


async def test_a_brief_tells_what_runs_and_what_is_left_of_a_run_begun_anew(gate: Gate) -> None:
    go = asyncio.Event()
    gate.servers["payments"].calls.append(go)
    run = (await gate.run("fraud_check", run="job")).call.facts.run
    under_way = asyncio.ensure_future(gate.run("payments_pay", run="job"))
    while not gate.servers["payments"].asked:
        await asyncio.sleep(0)
    resumed = await told(gate, "run_resume", {"run": run.id})
    assert resumed == {"run": run.id, "attempt": 2, "recorded": 2}
    brief = await told(gate, "run_brief", {})
    assert "begun 2 times" in brief
    assert "STILL RUNNING: payments.pay" in brief
    assert "not repeated yet, from step 1: fraud.check" in brief
    await gate.run("fraud_check", run="job")
    assert "from step 2: payments.pay" in await told(gate, "run_brief", {})
    go.set()
    await under_way
    await gate.run("payments_pay", run="job")
    assert "not repeated yet" not in await told(gate, "run_brief", {})


async def test_what_an_agent_resumes_answers_its_calls_without_naming_it(gate: Gate) -> None:
    run = (await gate.run("fraud_check", run="job")).call.facts.run.id
    await told(gate, "run_resume", {"run": run}, run="another")
    repeated = await gate.run("fraud_check")
    assert repeated.call.facts.run.id == run
    assert isinstance(repeated.outcome, Succeeded)
    assert repeated.outcome.replayed_from is not None
    assert len(gate.servers["fraud"].asked) == 1
    assert "no run of yours" in await refused(gate, "run_resume", {"run": "run_0"})


async def test_a_run_of_another_agent_is_resumed_only_where_a_policy_lets_it_join() -> None:
    calls = '@id("calls") permit (principal, action in Gateway::Action::"call_tool", resource);'
    for policies, joins in (((calls,), False), ((calls, JOIN), True)):
        gate = Gate(*policies)
        run = (await gate.run("payments_list", {}, run="job")).call.facts.run.id
        ended = await gate.run("run_resume", {"run": run}, "other")
        assert isinstance(ended.outcome, Succeeded) is joins
