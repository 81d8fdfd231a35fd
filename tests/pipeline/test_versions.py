"""Agents held at different versions of one tool, at the same time."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.catalog.lock import Lock, Pin
from gateway.catalog.versions import contracts
from gateway.ledger.entries import MAX_RESULT_BYTES
from gateway.ledger.trace import one_line
from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.pipeline.runner import Ended
from gateway.pipeline.simulation import Fate, Simulation
from gateway.store.ports import EventFilter
from gateway.transport.answers import tool_result
from tests.pipeline.gate import DEFINITIONS, PAYMENT, PERMIT_ALL, Gate, answer, request, rules_of
from tests.policy.acme import NUMBER, STRING, record

OLD = {
    "name": "check",
    "description": "Checks, as it was.",
    "inputSchema": record("id", "payee", id=STRING, payee=STRING, amount=NUMBER),
    "outputSchema": record("verdict", verdict=STRING),
}
ADAPTER = {
    "arguments": {"rename": {"id": "payment_id"}, "default": {"amount": 1}},
    "result": {"rename": {"result": "verdict"}, "drop": ["score"]},
}
ASKED = {"id": "p_17", "payee": "ACME"}


def gate(*policies: str, adapter: Any = ADAPTER, **more: Any) -> Gate:
    """Agent `other` is held at version 1 of `fraud.check`, whose present version is 2."""
    home = Gate(*policies, **more)
    present = home.rules.current.catalog.resolve("fraud_check")
    home.rules.current = held(home, adapter)
    home.servers["fraud"].calls += [answer({"result": "passed", "score": 3})] * 3
    assert present.version == 1  # in the gate; what an agent is held at only has to be another one
    return home


def held(home: Gate, adapter: Any = ADAPTER, version: int = 7, kept: int = 7) -> Any:
    pins = {name: Pin.of(definition) for name, definition in [("check", DEFINITIONS["fraud"][0])]}
    lock = Lock({"fraud": pins}).keeping("fraud", "check", replace(Pin.of(OLD), version=kept))
    rules = {"fraud.check": ToolRule.model_validate({"versions": {str(version): adapter}})}
    rules_now = home.rules.current
    found = contracts({"other": {"fraud.check": version}}, rules_now.catalog, lock, rules)
    return replace(rules_now, contracts=found)


async def run(home: Gate, arguments: Any = ASKED, agent: str = "other") -> Ended:
    return await home.entry.run(request("fraud_check", arguments, agent))


def said(ended: Ended) -> Any:
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    return ended.outcome.result["structuredContent"]


async def test_an_agent_keeps_its_contract_while_another_speaks_the_present_version() -> None:
    home = gate()
    old, new = await run(home), await run(home, PAYMENT, "payer")
    assert (said(old), said(new)) == ({"verdict": "passed"}, {"result": "passed", "score": 3})
    assert [one.arguments for one in home.servers["fraud"].asked] == [
        {"payment_id": "p_17", "payee": "ACME", "amount": 1},
        PAYMENT,
    ]
    assert tool_result(old, str)["content"] == [{"type": "text", "text": '{"verdict":"passed"}'}]


async def test_the_ledger_has_the_present_version_what_was_sent_and_the_version_it_was_sent_in() -> None:
    home = gate()
    ended = await run(home)
    body = json.loads((await home.events(ended.call.id))[-1].body)
    assert (body["tool"]["version"], body["tool"]["spoken"], body["sent"]) == (1, 7, ASKED)
    assert body["arguments"] == {"payment_id": "p_17", "payee": "ACME", "amount": 1}
    assert body["result"]["structuredContent"] == {"result": "passed", "score": 3}
    line = await one_line(home.store, ended.call.id)
    assert line is not None
    assert line.version == "1, spoken as 7"


async def test_a_precondition_is_met_by_a_step_in_either_version() -> None:
    require = """
@id("check") @prior("check: fraud.check by payment_id=payment_id in run") @remedy("fraud.check")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
unless { context.prior has check && context.prior.check.status == "ok" && context.prior.check has output &&
         context.prior.check.output.result == "passed" };
"""
    home = gate(PERMIT_ALL, require)
    assert isinstance((await home.run("payments_pay", PAYMENT, "other")).outcome, Denied)
    await run(home)
    assert isinstance((await home.run("payments_pay", PAYMENT, "other")).outcome, Succeeded)


async def test_policies_see_the_version_that_an_agent_is_spoken_with_in() -> None:
    new_only = (
        '@id("new-only") forbid (principal, action == Gateway::Action::"fraud.check", resource) '
        "when { context.base.version > 1 };"
    )
    home = gate(PERMIT_ALL, new_only)
    denied = (await run(home)).outcome
    assert isinstance(denied, Denied)
    assert denied.decision.policies == ("new-only",)
    assert said(await run(home, PAYMENT, "payer"))


async def test_a_simulation_sees_the_version_that_an_agent_was_spoken_with_in() -> None:
    home = gate()
    await run(home)
    await run(home, PAYMENT, "payer")
    old_out = (
        '@id("old-out") forbid (principal, action == Gateway::Action::"fraud.check", resource) '
        "when { context.base.version == 7 };"
    )
    simulation = Simulation(home.store, rules_of(PERMIT_ALL, old_out).bundle)
    found = {each.event.agent: each.after async for each in simulation.run(EventFilter())}
    assert found == {"other": Fate.DENIED, "payer": Fate.ALLOWED}


@pytest.mark.parametrize("arguments", [PAYMENT, {"id": 5, "payee": "ACME"}, {}])
async def test_arguments_are_held_against_the_version_of_the_agent(arguments: Any) -> None:
    home = gate()
    failed = (await run(home, arguments)).outcome
    assert isinstance(failed, Failed)
    assert failed.error.code == "invalid_arguments"
    assert home.servers["fraud"].asked == []


async def test_what_an_adapter_makes_of_arguments_is_held_against_the_present_version() -> None:
    home = gate(adapter={"arguments": {"rename": {"id": "payment_id"}, "constant": {"amount": "much"}}})
    failed = (await run(home)).outcome
    assert isinstance(failed, Failed)
    assert "What the adapter from version 7 makes of these arguments" in failed.error.message
    assert home.servers["fraud"].asked == []


async def test_an_answer_that_does_not_become_one_of_the_agents_version_is_withheld() -> None:
    home = gate(adapter={"arguments": ADAPTER["arguments"]})
    failed = (await run(home)).outcome
    assert isinstance(failed, Failed)
    assert failed.error.code == "contract_broken"


async def test_an_agent_that_cannot_be_spoken_with_is_refused_clearly_and_not_listed_the_tool() -> None:
    home = gate()
    home.rules.current = held(home, version=8)
    failed = (await run(home)).outcome
    assert isinstance(failed, Failed)
    assert failed.error.code == "tool_quarantined"
    assert "You are held at version 8 of fraud.check" in failed.error.message
    other = await home.listing.identify(request("x", agent="other").caller, "tools/list")
    assert "fraud_check" not in [tool["name"] for tool in home.listing.tools(other)]


async def test_each_agent_is_listed_the_version_it_is_held_at() -> None:
    home = gate()
    shown = {}
    for agent in ("payer", "other"):
        identity = await home.listing.identify(request("x", agent=agent).caller, "tools/list")
        shown[agent] = {tool["name"]: tool for tool in home.listing.tools(identity)}["fraud_check"]
    assert shown["other"] == {**OLD, "name": "fraud_check"}
    assert shown["payer"] == {**DEFINITIONS["fraud"][0], "name": "fraud_check"}


async def test_an_answer_from_the_record_is_given_in_the_agents_version_too() -> None:
    home = gate(tools={"fraud.check": ToolRule(idempotency_key=["payment_id"])})
    first, again = await run(home), await run(home)
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == first.call.id
    assert said(again) == {"verdict": "passed"}


async def test_a_tools_own_error_has_no_version() -> None:
    home = gate()
    home.servers["fraud"].calls[:] = [answer(isError=True)]
    ended = await run(home)
    assert isinstance(ended.outcome, Succeeded)
    assert ended.outcome.result == answer(isError=True)


async def test_a_refusal_is_structured_where_the_agents_version_says_nothing_of_answers() -> None:
    forbid = '@id("no") forbid (principal, action == Gateway::Action::"fraud.check", resource);'
    home = gate(PERMIT_ALL, forbid)
    assert "structuredContent" not in tool_result(await run(home), str)


async def test_a_note_in_the_place_of_a_recorded_answer_is_given_as_it_is() -> None:
    home = gate(tools={"fraud.check": ToolRule(idempotency_key=["payment_id"])})
    home.servers["fraud"].calls[:] = [answer({"result": "x" * MAX_RESULT_BYTES})]
    await run(home)
    again = await run(home)
    assert isinstance(again.outcome, Succeeded)
    assert "its answer is not kept" in again.outcome.result["content"][0]["text"]
