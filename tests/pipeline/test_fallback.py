"""What stands in for a read while its server cannot be reached."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.catalog.declared import fallback_problems, hedge_problems
from gateway.connector import ConnectorFault, ToolCall
from gateway.model.answers import Label, Source
from gateway.model.outcome import Failed, Succeeded
from gateway.pipeline.runner import Ended
from gateway.resilience.config import ResilienceConfig
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer, rules_of

PASSED = {"result": "passed"}
DOWN = ConnectorFault("gone", sent=False)
ONCE = ResilienceConfig(max_attempts=1)
CHECK = {
    "tool": "payments.list",
    "arguments": {"drop": ["payment_id", "payee"], "rename": {"amount": "limit"}},
    "result": {"rename": {"state": "result"}},
}


def rule(*fallback: Any, **more: Any) -> Mapping[str, ToolRule]:
    return {"fraud.check": ToolRule.model_validate({"fallback": [*fallback], **more})}


def gate(tools: Mapping[str, ToolRule], *policies: str) -> Gate:
    home = Gate(*policies, tools=tools, settings=ONCE)
    home.servers["payments"].calls += [answer({"state": "passed"}), answer({"state": "again"})]
    return home


def said(ended: Ended) -> Any:
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    return ended.outcome.result["structuredContent"]


def is_down(ended: Ended, code: str = "unavailable") -> str:
    assert isinstance(ended.outcome, Failed), ended.outcome
    assert ended.outcome.error.code == code
    return str(ended.call.attempts[-1]["reason"])


@pytest.mark.parametrize("code", ["unavailable", "timeout"])
async def test_another_tool_answers_in_its_own_terms_and_everybody_is_told(code: str) -> None:
    home = gate(rule(CHECK))
    home.servers["fraud"].calls.append(ConnectorFault("gone", code=code))
    ended = await home.run("fraud_check")
    assert said(ended) == {"result": "passed"}
    assert (ended.call.source, ended.call.labels) == (
        Source(fallback="payments.list", because=code),
        (Label.FALLBACK,),
    )
    [asked] = home.servers["payments"].asked
    assert (asked.tool, asked.arguments, asked.idempotency_key) == ("list", {"limit": 250}, None)
    body = json.loads((await home.events(ended.call.id))[-1].body)
    assert (body["source"], body["labels"]) == ({"fallback": "payments.list", "because": code}, ["fallback"])
    assert [(each["code"], each.get("fallback")) for each in body["attempts"]] == [
        (code, None),
        ("ok", "payments.list"),
    ]


async def test_it_answers_while_the_breaker_is_open() -> None:
    home = Gate(tools=rule(CHECK), settings=ResilienceConfig(max_attempts=1, breaker_calls=1, breaker_min_calls=1))
    home.servers["payments"].calls += [answer({"state": "passed"})] * 2
    home.servers["fraud"].calls.append(DOWN)
    await home.run("fraud_check")
    ended = await home.run("fraud_check")
    assert (said(ended), len(home.servers["fraud"].asked)) == ({"result": "passed"}, 1)


async def test_the_tool_and_what_stands_in_for_it_share_one_deadline() -> None:
    other = {"tool": "payments.list", "arguments": CHECK["arguments"], "result": CHECK["result"]}
    home = gate(rule(CHECK, other, {"cached": "1h"}, deadline=12))

    async def slow(call: ToolCall) -> Mapping[str, Any]:
        home.clock.passed += call.timeout_s
        raise ConnectorFault("slow", code="timeout")

    home.servers["fraud"].calls.append(slow)
    home.servers["payments"].calls[:0] = [slow, slow]
    is_down(await home.run("fraud_check"), "timeout")
    asked = [*home.servers["fraud"].asked, *home.servers["payments"].asked]
    assert [call.timeout_s for call in asked] == [4.0, 4.0, 4.0]
    assert home.clock.passed == 12


async def test_time_that_was_not_used_is_there_for_whoever_stands_in_up_to_its_own_deadline() -> None:
    home = gate({**rule(CHECK, deadline=12), "payments.list": ToolRule(deadline=9)})
    home.servers["fraud"].calls.append(DOWN)
    await home.run("fraud_check")
    assert [call.timeout_s for call in home.servers["payments"].asked] == [9.0]


async def test_nobody_is_asked_for_whom_no_time_is_left() -> None:
    home = gate(rule(CHECK, deadline=12))

    async def overdue(call: ToolCall) -> Mapping[str, Any]:
        home.clock.passed += 12
        raise ConnectorFault("slow", code="timeout")

    home.servers["fraud"].calls.append(overdue)
    assert is_down(await home.run("fraud_check"), "timeout") == "no time is left to ask it"
    assert home.servers["payments"].asked == []


@pytest.mark.parametrize("code", ["rejected", "forbidden", "credential_expired", "contract_broken"])
async def test_nothing_stands_in_for_a_tool_that_answered(code: str) -> None:
    home = gate(rule(CHECK))
    home.servers["fraud"].calls.append(ConnectorFault("no", code=code))
    assert isinstance((await home.run("fraud_check")).outcome, Failed)
    assert home.servers["payments"].asked == []


async def test_a_tool_that_the_agent_may_not_call_does_not_answer_for_another() -> None:
    only = '@id("only") permit (principal, action == Gateway::Action::"fraud.check", resource);'
    home = gate(rule(CHECK), only)
    home.servers["fraud"].calls.append(DOWN)
    assert "may not call" in is_down(await home.run("fraud_check"))
    assert home.servers["payments"].asked == []


async def test_what_a_policy_masks_in_the_other_tools_answer_is_masked_under_its_new_name() -> None:
    mask = (
        '@id("mask") @obligation("redact:state") '
        'permit (principal, action == Gateway::Action::"payments.list", resource);'
        '@id("check") permit (principal, action == Gateway::Action::"fraud.check", resource);'
    )
    home = gate(rule(CHECK), mask)
    home.servers["fraud"].calls.append(DOWN)
    ended = await home.run("fraud_check")
    assert said(ended)["result"] != "passed"
    assert "passed" not in json.dumps(ended.outcome.result)  # type: ignore[union-attr]  # `said` looked


async def test_a_paused_or_absent_tool_does_not_answer_for_another() -> None:
    home = gate(rule("mail.nothing", CHECK))
    await home.pause("tool:payments.list")
    home.servers["fraud"].calls.append(DOWN)
    ended = await home.run("fraud_check")
    is_down(ended)
    assert [(each.get("fallback"), each["code"]) for each in ended.call.attempts] == [
        (None, "unavailable"),
        ("mail.nothing", "unusable"),
        ("payments.list", "paused"),
    ]


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (answer({"state": "passed"}, isError=True), "an error"),
        ({"resultType": "input_required", "inputRequests": {}}, "an error"),
        ({"content": "text"}, "breaks its contract"),
        (answer(), "cannot be adapted"),
        (answer({"status": "passed"}), "break the contract of fraud.check"),
    ],
)
async def test_what_does_not_make_a_proper_answer_is_passed_over(odd: Any, why: str) -> None:
    home = Gate(tools=rule(CHECK), settings=ONCE)
    home.servers["payments"].calls.append(odd)
    home.servers["fraud"].calls.append(DOWN)
    assert why in is_down(await home.run("fraud_check"))


async def test_arguments_that_the_other_tool_does_not_take_are_not_sent() -> None:
    home = gate(rule({**CHECK, "arguments": {"constant": {"limit": "many"}}}))
    home.servers["fraud"].calls.append(DOWN)
    assert "break its schema" in is_down(await home.run("fraud_check"))
    assert home.servers["payments"].asked == []


async def test_when_the_other_tool_is_down_too_the_next_one_answers_and_else_the_first_fault_stands() -> None:
    other = {"tool": "payments.list", "arguments": CHECK["arguments"], "result": {"constant": {"result": "unknown"}}}
    home = gate(rule(CHECK, other))
    home.servers["fraud"].calls += [DOWN, DOWN]
    home.servers["payments"].calls[:0] = [ConnectorFault("down too")]
    assert said(await home.run("fraud_check"))["result"] == "unknown"
    home.servers["payments"].calls[:0] = [ConnectorFault("down too")] * 2
    ended = await home.run("fraud_check")
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.error.message == "gone"


async def test_labels_of_the_other_tools_answer_go_with_it() -> None:
    home = gate({**rule(CHECK), "payments.list": ToolRule.model_validate({"incomplete": {"required": ["total"]}})})
    home.servers["fraud"].calls.append(DOWN)
    assert (await home.run("fraud_check")).call.labels == (Label.FALLBACK, Label.INCOMPLETE)


def listing(**more: Any) -> Mapping[str, ToolRule]:
    return {"payments.list": ToolRule.model_validate({"fallback": [{"cached": "2h"}], **more})}


@pytest.mark.parametrize("more", [{}, {"cache": "60s"}])
async def test_the_last_answer_stands_in_with_its_age_for_as_long_as_it_is_declared_to(more: dict[str, Any]) -> None:
    home = Gate(tools=listing(**more), settings=ONCE)
    home.servers["payments"].calls += [answer({"n": 1}), DOWN, DOWN]
    first = await home.run("payments_list", {})
    home.clock.passed += 7199
    stale = await home.run("payments_list", {})
    assert said(stale) == {"n": 1}
    assert stale.call.source == Source(first.call.id, 7_199_000, "cached", "unavailable", (Label.STALE,))
    assert stale.call.labels == (Label.FALLBACK, Label.STALE)
    home.clock.passed += 1
    assert "new enough" in is_down(await home.run("payments_list", {}))


async def test_without_a_time_to_live_every_read_is_made() -> None:
    home = Gate(tools=listing(), settings=ONCE)
    home.servers["payments"].calls += [answer({"n": 1}), answer({"n": 2})]
    assert [said(await home.run("payments_list", {})) for _ in range(2)] == [{"n": 1}, {"n": 2}]


async def test_the_last_answer_of_another_agent_or_from_before_a_write_stands_in_for_nobody() -> None:
    home = Gate(tools=listing(), settings=ONCE)
    home.servers["payments"].calls += [answer({"n": 1}), DOWN, answer(), DOWN]
    await home.run("payments_list", {})
    is_down(await home.run("payments_list", {}, "other"))
    await home.run("payments_pay")
    is_down(await home.run("payments_list", {}))


async def test_a_step_is_never_made_of_the_last_answer() -> None:
    look = (
        '@id("look") @prior("list: payments.list in run") forbid (principal, action == Gateway::Action::"mail.send", '
        "resource) unless { context.prior has list };"
    )
    home = Gate(PERMIT_ALL, look, tools=listing(), settings=ONCE)
    home.servers["payments"].calls += [answer({"n": 1}), DOWN]
    await home.run("payments_list", {})
    assert "a step says" in is_down(await home.run("payments_list", {}))


async def test_nothing_stands_in_for_an_effect() -> None:
    home = gate({"payments.pay": ToolRule(fallback=["payments.settle"])})
    home.servers["payments"].calls[:0] = [DOWN]
    assert isinstance((await home.run("payments_pay", PAYMENT)).outcome, Failed)
    assert len(home.servers["payments"].asked) == 1


@pytest.mark.parametrize(
    ("tool", "fallback", "why"),
    [
        ("payments.pay", "payments.list", "payments.pay has the effect write"),
        ("payments.settle", "cached", "has the effect write"),
        ("payments.list", "payments.settle", "payments.settle, which has the effect write"),
        ("payments.list", "payments.lost", "which is no tool"),
        ("payments.list", "paymentz.list", "which is no tool"),
        ("payments.list", "payments.list", "on itself"),
    ],
)
def test_a_fallback_of_what_is_no_read_and_to_what_is_none_is_refused_at_load(
    tool: str, fallback: str, why: str
) -> None:
    tools = rules_of(tools={tool: ToolRule(fallback=[fallback])}).catalog.tools()
    [problem] = fallback_problems(tools, ["payments", "silent"])
    assert why in problem.message


@pytest.mark.parametrize(
    ("tool", "rule", "why"),
    [
        ("payments.list", {"idempotent": True}, None),
        ("payments.list", {}, "idempotent"),
        ("payments.pay", {"idempotent": True}, "effect write"),
        ("payments.list", {"idempotent": True, "cost": {"usd": 0.01}}, "price"),
    ],
)
def test_what_is_not_the_same_and_free_when_asked_twice_is_refused_at_load(
    tool: str, rule: dict[str, Any], why: str | None
) -> None:
    rules = {tool: ToolRule.model_validate({"hedge": "p95", **rule})}
    problems = [each.message for each in hedge_problems(rules_of(tools=rules).catalog.tools(), rules)]
    assert [why in each for each in problems if why] == [True] * len(problems)
    assert len(problems) == (why is not None)


def test_a_tool_of_a_server_that_never_answered_may_be_named() -> None:
    tools = rules_of(tools={"payments.list": ToolRule(fallback=["silent.x", "cached"])}).catalog.tools()
    assert fallback_problems(tools, ["payments", "silent"]) == []
