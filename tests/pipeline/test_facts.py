"""Facts on the way of a call: kept for whom they are for, proved by what is on record, and heeded by policies."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.facts.config import FactsSection
from gateway.model.errors import RequestFault
from gateway.model.facts import FactKey
from gateway.model.operation import READ_RESOURCE, operation
from gateway.model.outcome import Denied, Failed, Succeeded, Unknown
from gateway.pipeline.runner import Ended
from gateway.pipeline.stages.claim import Claim
from gateway.pipeline.stages.execute import Execute
from gateway.policy import decide, from_json
from gateway.store.bodies import load
from gateway.store.ports import EventKind
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, SECRET, Gate, answer, caller, request, settle

BUDGET = """
@id("within-budget") @message("A payment stays within the budget that was found.")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
unless {
  context.facts has budget && context.input has amount && context.input.amount.lessThanOrEqual(context.facts.budget)
};
"""
DECLARED = {
    "budget": {"type": "number"},
    "approved": {"type": "boolean", "scope": "agent"},
    "deadline": {"type": "datetime", "scope": "session"},
    "payees": {"type": "strings", "scope": "user"},
    "limit": {"type": "integer", "scope": "team", "team": "finance"},
}
SECTION = FactsSection.model_validate({"names": DECLARED})


def a_gate(*policies: str, **section: Any) -> Gate:
    return Gate(*(policies or (PERMIT_ALL,)), facts=SECTION.model_copy(update=section))


def told(ended: Ended) -> dict[str, Any]:
    """What the agent is answered, whether or not it is an error."""
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    structured: dict[str, Any] = ended.outcome.result["structuredContent"]
    return structured


async def put(gate: Gate, name: str = "budget", value: Any = 100, scope: str = "run", **more: Any) -> Ended:
    who = {key: more.pop(key) for key in ("agent", "run", "caller") if key in more}
    return await gate.run("facts_put", {"scope": scope, "name": name, "value": value, **more}, **who)


async def get(gate: Gate, name: str = "budget", scope: str = "run", **who: Any) -> Any:
    found = told(await gate.run("facts_get", {"scope": scope, "name": name}, **who))
    return found["fact"]["value"] if found["found"] else None


def refused(ended: Ended) -> str:
    assert isinstance(ended.outcome, Failed), ended.outcome
    assert isinstance(ended.outcome.error, RequestFault)
    return ended.outcome.error.message


def pays(number: int, amount: float) -> Mapping[str, Any]:
    return {**PAYMENT, "payment_id": f"p_{number}", "amount": amount}


async def test_a_fact_is_kept_and_read_back_with_who_put_it_and_when() -> None:
    gate = a_gate()
    fact = told(await put(gate, ttl_s=60))["fact"]
    assert (fact["value"], fact["version"], fact["by"]) == (100, 1, "payer")
    assert (fact["at"], fact["until"]) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:01:00.000Z")
    assert await get(gate) == 100
    await gate.clock.sleep(60)
    assert await get(gate) is None


async def test_each_scope_has_its_own_facts_and_nobody_reads_anothers() -> None:
    gate = a_gate()
    session = caller(session="s1")
    await put(gate, value=1, run="one")
    await put(gate, value=2, run="two")
    await put(gate, value=3, scope="agent")
    await put(gate, value=4, scope="session", caller=session)
    assert [await get(gate, run="one"), await get(gate, run="two"), await get(gate, run="three")] == [1, 2, None]
    assert [await get(gate, scope="agent", run="three"), await get(gate, scope="agent", agent="other")] == [3, None]
    assert await get(gate, scope="session", caller=session) == 4
    assert await get(gate, scope="session", caller=caller(session="s2")) is None
    assert await get(gate, scope="session", caller=caller("other", "s1")) is None


@pytest.mark.parametrize(
    ("scope", "says"), [("session", "no session"), ("user", "no user"), ("team", "your own teams")]
)
async def test_who_has_no_such_scope_is_told_so(scope: str, says: str) -> None:
    assert says in refused(await put(a_gate(), scope=scope))


async def test_a_contradiction_changes_nothing_shows_both_values_and_is_on_record() -> None:
    gate = a_gate()
    await put(gate)
    ended = await put(gate, value=1000)
    conflict = told(ended)["conflict"]
    assert (conflict["yours"], conflict["held"]["value"], conflict["held"]["version"]) == (1000, 100, 1)
    assert isinstance(ended.outcome, Succeeded)
    assert ended.outcome.result["isError"] is True
    assert "budget is 100, version 1" in ended.outcome.result["content"][0]["text"]
    assert EventKind.FACT_CONTRADICTED in await gate.kinds(ended.call.id)
    assert await get(gate) == 100
    assert told(await put(gate, value=1000, version=1))["fact"]["version"] == 2
    assert await get(gate) == 1000
    assert await gate.store.verify()


async def test_a_version_that_is_not_there_any_more_cannot_be_replaced() -> None:
    gate = a_gate()
    ended = await put(gate, version=3)
    assert told(ended)["conflict"] == {"yours": 100}
    assert told(await gate.run("facts_delete", {"scope": "run", "name": "budget", "version": 1}))["conflict"] == {}


async def test_a_deleted_fact_is_gone_and_deleting_nothing_is_no_mistake() -> None:
    gate = a_gate()
    await put(gate)
    gone = {"scope": "run", "name": "budget"}
    assert told(await gate.run("facts_delete", gone))["deleted"] is True
    assert told(await gate.run("facts_delete", gone, run="other"))["deleted"] is False
    assert await get(gate) is None


async def test_lists_show_short_values_and_the_size_of_long_ones() -> None:
    gate = a_gate()
    await put(gate, "b", "x" * 300)
    await put(gate, "a", [1])
    facts = told(await gate.run("facts_list", {"scope": "run"}))["facts"]
    assert [(fact["name"], fact.get("value"), fact.get("size")) for fact in facts] == [
        ("a", [1], None),
        ("b", None, 302),
    ]
    assert told(await gate.run("facts_list", {"scope": "agent"}))["facts"] == []


async def test_what_is_too_large_too_many_or_a_secret_is_not_kept() -> None:
    gate = a_gate(value_bytes=64, most=1)
    assert "at most 64 bytes" in refused(await put(gate, value="x" * 64))
    assert "secret" in refused(await put(gate, value={"key": SECRET}))
    await put(gate)
    assert "holds 1 facts already" in refused(await put(gate, "other"))
    assert SECRET not in "".join(event.body for event in await gate.events())


@pytest.mark.parametrize("value", ["100", None, 0.00001, True, [1]])
async def test_a_declared_fact_has_its_declared_type(value: Any) -> None:
    gate = a_gate()
    assert "declared to be of the type number" in refused(await put(gate, value=value))
    assert told(await put(gate, value=value, scope="agent"))["fact"]["version"] == 1


async def test_a_proof_is_a_call_on_record_that_said_so() -> None:
    gate = a_gate()
    gate.servers["payments"].calls += [answer({"order": {"budget": 100}}), answer(isError=True)]
    seen = await gate.run("payments_list", {})
    failed = await gate.run("payments_list", {"limit": 1})
    fact = told(await put(gate, proof={"call": seen.call.id, "path": "order.budget"}))["fact"]
    assert {**fact["proof"], "result": ""} == {
        "call": seen.call.id,
        "tool": "payments.list",
        "result": "",
        "verified": True,
        "path": "order.budget",
    }
    assert "does not say" in refused(await put(gate, "other", 7, proof={"call": seen.call.id, "path": "order.budget"}))
    assert "does not say" in refused(await put(gate, "other", 7, proof={"call": seen.call.id, "path": "order.x"}))
    assert "no call of yours" in refused(await put(gate, "other", 7, proof={"call": failed.call.id}))
    assert "no call of yours" in refused(await put(gate, "other", 7, proof={"call": "call_nowhere"}))
    assert "no call of yours" in refused(await put(gate, "other", 7, proof={"call": seen.call.id}, agent="other"))
    unverified = told(await put(gate, "other", 7, proof={"call": seen.call.id}))["fact"]["proof"]
    assert unverified["verified"] is False


async def test_a_proof_may_name_the_tool_and_is_its_latest_call_in_the_run_that_succeeded() -> None:
    gate = a_gate()
    gate.servers["payments"].calls += [answer({"n": 1}), answer({"n": 2}), answer({"n": 3}, isError=True)]
    for number in range(3):
        await gate.run("payments_list", {"limit": number})
    proof = {"tool": "payments.list", "path": "n"}
    assert told(await put(gate, value=2, proof=proof))["fact"]["proof"]["verified"] is True
    assert "no call of yours" in refused(await put(gate, value=2, proof=proof, run="another"))
    assert "no call of yours" in refused(await put(gate, "x", 2, proof={}))


async def test_a_budget_found_at_step_5_binds_the_payment_at_step_50() -> None:
    gate = a_gate(PERMIT_ALL, BUDGET)
    for step in range(50):
        if step == 5:
            await put(gate)
        await gate.run("payments_list", {"limit": step})
    ended = await gate.run("payments_pay", pays(1, 100.01))
    assert isinstance(ended.outcome, Denied)
    assert ended.outcome.decision.policies == ("within-budget",)
    assert isinstance((await gate.run("payments_pay", pays(2, 100))).outcome, Succeeded)
    assert isinstance((await gate.run("payments_pay", pays(3, 1), run="another")).outcome, Denied)


async def test_deleting_a_fact_changes_neither_replay_nor_the_recorded_answer() -> None:
    gate = a_gate(PERMIT_ALL, BUDGET)
    await put(gate)
    paid = await gate.run("payments_pay", pays(1, 50))
    await gate.run("facts_delete", {"scope": "run", "name": "budget"})
    [claim] = [event for event in await gate.events(paid.call.id) if event.kind is EventKind.CALL_CLAIMED]
    body = load(claim.body.encode())
    assert decide(gate.rules.current.bundle, from_json(body["given"])).allowed
    again = await gate.run("payments_pay", pays(1, 50))
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == paid.call.id
    assert isinstance((await gate.run("payments_pay", pays(2, 50))).outcome, Denied)


async def test_a_fact_that_changes_between_decision_and_claim_is_decided_on_anew() -> None:
    gate = a_gate(PERMIT_ALL, BUDGET)
    await put(gate)
    call = await gate.before(Claim, request("payments_pay", pays(1, 100)))
    assert call.decision.allowed
    await put(gate, value=10, version=1)
    with pytest.raises(Exception, match=r"^$") as again:
        await gate.stage(Claim)(call)
    assert type(again.value).__name__ == "DecideAgain"
    assert isinstance((await gate.run("payments_pay", pays(2, 100))).outcome, Denied)


async def test_facts_of_every_scope_and_type_reach_the_policies() -> None:
    gate = a_gate(
        PERMIT_ALL,
        """
        @id("both") forbid (principal, action == Gateway::Action::"payments.pay", resource) unless {
          context.facts has approved && context.facts.approved &&
          context.facts has deadline && context.base.now < context.facts.deadline
        };
        """,
    )
    session = caller(session="s1")
    await put(gate, "approved", True, "agent")
    await put(gate, "deadline", "2030-01-01T00:00:00Z", "session", caller=session)
    assert isinstance((await gate.run("payments_pay", pays(1, 1), caller=session)).outcome, Succeeded)
    assert isinstance((await gate.run("payments_pay", pays(2, 1))).outcome, Denied)


async def test_what_is_no_tool_call_is_decided_without_facts() -> None:
    documents = '@id("documents") permit (principal, action == Gateway::Action::"read_resource", resource);'
    gate = a_gate(PERMIT_ALL, BUDGET, documents)
    await put(gate)
    gate.servers["payments"].calls.append({"contents": []})
    asked = operation("payments", READ_RESOURCE)
    ended = await gate.run("resources/read", {"uri": "file:///a"}, operation=asked)
    assert isinstance(ended.outcome, Succeeded)
    assert ended.call.facts.held == {}


async def test_facts_are_governed_like_any_tool_with_their_scope_as_an_argument() -> None:
    gate = a_gate(
        PERMIT_ALL,
        """
        @id("own-only") forbid (principal == Gateway::Agent::"other", action in
          [Gateway::Action::"facts.put", Gateway::Action::"facts.get"], resource)
        when { context.input.scope != "run" };
        @id("written-once") forbid (principal, action == Gateway::Action::"facts.put", resource)
        when { context.input.name == "budget" && context.facts has budget };
        """,
    )
    assert isinstance((await put(gate, scope="agent", agent="other")).outcome, Denied)
    assert isinstance((await put(gate, "note", agent="other")).outcome, Succeeded)
    assert isinstance((await put(gate)).outcome, Succeeded)
    assert isinstance((await put(gate, value=1000, version=1)).outcome, Denied)


@pytest.mark.parametrize("is_put", [True, False])
async def test_after_a_crash_the_chain_says_whether_a_fact_was_put(is_put: bool) -> None:
    gate = a_gate()
    asked = request("facts_put", {"scope": "run", "name": "budget", "value": 100})
    call = await gate.before(Execute, asked)
    if is_put:
        await gate.fact_tools.put(call)
    other = await gate.before(Execute, request("payments_pay", pays(1, 1)))
    doubtful = await gate.recorder.recover()
    assert [each.call_id for each in doubtful] == [call.id, other.id]
    assert isinstance((await gate.runner.run(asked)).outcome, Unknown)
    await gate.fact_tools.settle(doubtful)
    again = await gate.runner.run(asked)
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == (call.id if is_put else None)
    await settle()
    assert await get(gate) == 100
    assert isinstance((await gate.runner.run(request("payments_pay", pays(1, 1)))).outcome, Unknown)
    held = await gate.store.find_facts([FactKey("run", call.facts.run.id, "budget")], gate.clock.now_ms())
    assert held[0] is not None
    assert held[0].version == 1
    assert await gate.store.verify()


async def test_a_brief_tells_the_facts_of_its_run_and_of_no_other() -> None:
    gate = a_gate()
    await put(gate, value=100, run="job")
    await put(gate, "note", "x" * 400, run="job")
    await put(gate, "elsewhere", 7, run="other job")
    await put(gate, "approved", True, scope="agent", run="job")
    brief = await briefed(gate)
    assert "FACT budget = 100 (version 1, put by payer)" in brief
    assert "FACT note = 402 bytes (version 1, put by payer)" in brief
    assert not [line for line in brief if "elsewhere" in line or "approved" in line]
    for number in range(10):
        await put(gate, f"n{number}", number, run="job")
    short = await briefed(gate, max_tokens=200)
    assert sum(len(line) + 1 for line in short) <= 600
    assert "(There is more: run_history, facts_list.)" in short


async def test_a_brief_tells_no_fact_to_whom_the_policies_let_list_none() -> None:
    gate = a_gate(PERMIT_ALL, NO_LISTING)
    await put(gate, run="job")
    assert not [line for line in await briefed(gate) if line.startswith("FACT")]


NO_LISTING = """
@id("not-of-runs")
forbid (principal, action == Gateway::Action::"facts.list", resource) when { context.input.scope == "run" };
"""


async def briefed(gate: Gate, **asked: Any) -> list[str]:
    ended = await gate.run("run_brief", asked, run="job")
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    text: str = ended.outcome.result["content"][0]["text"]
    return text.splitlines()
