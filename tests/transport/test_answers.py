"""Every way a call can end, as its client sees it."""

from typing import Any

import pytest

from gateway.connector.about import About
from gateway.model.call import Call
from gateway.model.decision import Decision, Remedy
from gateway.model.errors import (
    CODES,
    ApprovalFault,
    ConnectorFault,
    GatewayError,
    IdentityFault,
    LedgerTampered,
    LimitFault,
    OutcomeUnknown,
    PolicyFault,
    RequestFault,
    StoreFault,
)
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown, Waiting
from gateway.pipeline.runner import Ended
from gateway.pipeline.stages.validate import Validate
from gateway.transport.advice import ADVICE
from gateway.transport.answers import REFUSAL_META, REPLAYED_META, identity_fault, tool_result
from tests.pipeline.gate import Gate, request

FAMILIES = (
    GatewayError,
    RequestFault,
    ApprovalFault,
    IdentityFault,
    LimitFault,
    ConnectorFault,
    OutcomeUnknown,
    StoreFault,
    PolicyFault,
)


def wire(name: str) -> str:
    return name.replace(".", "_")


async def result_of(outcome: Outcome, tool: str = "payments_pay") -> dict[str, Any]:
    call = await Gate().before(Validate, request(tool))
    return tool_result(Ended(call, outcome), wire)


@pytest.mark.parametrize(
    ("code", "is_told"), [("unavailable", True), ("credential_expired", True), ("rejected", False)]
)
async def test_whoever_is_told_that_a_server_failed_is_told_whom_to_ask(code: str, is_told: bool) -> None:
    call = await Gate().before(Validate, request("payments_pay"))
    failed = Ended(call, Failed(ConnectorFault("What was wrong.", code=code)))
    told = tool_result(failed, wire, lambda about: About(owner="payments team", contact="#pay"))
    ask = "Ask payments team, who answers for it."
    assert told["content"][0]["text"].endswith(ask) is is_told
    assert told["_meta"][REFUSAL_META]["remedy"].endswith(ask) is is_told
    assert "#pay" not in str(told)


def faults() -> list[GatewayError]:
    made: list[GatewayError] = [
        family("What was wrong.", code=code) for family in FAMILIES for code in sorted(family.codes)
    ]
    return [*made, LedgerTampered("What was wrong.", seq=3)]


def test_every_code_is_made_here_and_has_a_remedy() -> None:
    assert {fault.code for fault in faults()} == CODES == set(ADVICE)


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.code)
async def test_every_fault_is_a_result_with_its_code_its_call_what_was_done_and_what_to_do(fault: GatewayError) -> None:
    result = await result_of(Failed(fault))
    refusal = result["_meta"][REFUSAL_META]
    remedy = ADVICE[fault.code]
    text = f"What was wrong. {remedy}" if isinstance(fault, ConnectorFault) else "What was wrong."
    assert (result["isError"], result["content"]) == (True, [{"type": "text", "text": text}])
    told = {"message": "What was wrong.", "done": "nothing", "remedy": remedy}
    assert refusal == {"code": fault.code, "retryable": fault.retryable, "call": "call_1", **told}
    assert result["structuredContent"] == refusal


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.code)
async def test_an_unknown_outcome_is_never_to_be_repeated_by_itself(fault: GatewayError) -> None:
    refusal = (await result_of(Unknown(fault)))["_meta"][REFUSAL_META]
    assert (refusal["code"], refusal["retryable"], refusal["done"]) == (fault.code, False, "unknown")
    assert refusal["remedy"] == ADVICE["outcome_unknown"]  # not to go on without it


async def test_a_limit_says_when() -> None:
    result = await result_of(Failed(LimitFault("Slow down.", retry_after_s=14.8652)))
    assert result["_meta"][REFUSAL_META]["retryAfter"] == 14.8652
    assert result["content"][0]["text"] == "Slow down. Try again in 14.9 s."  # never too soon


async def test_what_is_for_the_ledger_only_does_not_reach_the_agent() -> None:
    result = await result_of(Failed(StoreFault("Not now.", detail="/var/lib/ledger: disk full")))
    assert "/var/lib" not in str(result)


async def test_a_call_that_waits_says_on_what_and_for_how_long() -> None:
    result = await result_of(Waiting("call_9", "Still running.", 3.0))
    assert result["isError"] is True
    assert result["content"][0]["text"] == "Still running."
    assert result["_meta"][REFUSAL_META] == {
        "code": "waiting",
        "retryable": True,
        "retryAfter": 3.0,
        "on": "call_9",
        "message": "Still running.",
        "call": "call_1",
    }


async def test_a_denial_names_the_rule_and_the_step_that_is_missing_with_its_arguments() -> None:
    remedy = Remedy("fraud.check", {"payment_id": "p_1", "amount": 250})
    decision = Decision(False, "sha256:b", ("pay.rule", "other"), "Check it first.", remedies=(remedy,))
    result = await result_of(Denied(decision))
    text = result["content"][0]["text"]
    assert text == (
        "Denied: Check it first. Policy: pay.rule, other. "
        'Call this first: fraud_check {"payment_id":"p_1","amount":250}, then repeat this call.'
    )
    assert result["_meta"][REFUSAL_META] == {
        "code": "denied",
        "retryable": False,
        "done": "nothing",
        "policies": ["pay.rule", "other"],
        "message": "Check it first.",
        "remedies": [{"tool": "fraud_check", "arguments": {"payment_id": "p_1", "amount": 250}}],
        "call": "call_1",
    }


async def test_a_denial_without_words_or_remedy_says_whom_to_ask() -> None:
    text = (await result_of(Denied(Decision(False, "sha256:b"))))["content"][0]["text"]
    assert text == (
        "Denied: No policy allows this call. "
        "Repeating it unchanged will not help; ask the operator of the gateway for access."
    )


async def test_a_tool_with_an_output_schema_gets_no_structured_refusal() -> None:
    refused = await result_of(Denied(Decision(False, "sha256:b")), "fraud_check")
    assert ("structuredContent" in refused, REFUSAL_META in refused["_meta"]) == (False, True)


def test_a_call_of_no_tool_gets_a_structured_refusal() -> None:
    call = Call("call_1", request("nowhere"), 0)
    result = tool_result(Ended(call, Failed(RequestFault("No such tool.", code="unknown_tool"))), wire)
    assert result["structuredContent"]["code"] == "unknown_tool"


@pytest.mark.parametrize("meta", [None, "text", {"theirs": 1}])
async def test_a_success_passes_unchanged(meta: Any) -> None:
    given = {"content": [], "unknown": {"kept": 1}, **({} if meta is None else {"_meta": meta})}
    result = await result_of(Succeeded(given))
    assert result == given
    assert result is not given


@pytest.mark.parametrize(
    ("meta", "kept"), [({}, {}), ({"_meta": "text"}, {}), ({"_meta": {"theirs": 1}}, {"theirs": 1})]
)
async def test_an_answer_from_the_record_names_the_call_it_is_of(meta: dict[str, Any], kept: dict[str, Any]) -> None:
    given = {"content": [], **meta}
    result = await result_of(Succeeded(given, replayed_from="call_0"))
    assert result["_meta"] == {**kept, REPLAYED_META: "call_0"}
    assert given == {"content": [], **meta}


def test_only_a_caller_nobody_knows_is_answered_outside_the_result() -> None:
    fault = IdentityFault("who?")
    assert identity_fault(Failed(fault)) is fault
    assert identity_fault(Failed(StoreFault("no"))) is None
    assert identity_fault(Unknown(fault)) is None
    assert identity_fault(Succeeded({})) is None
