"""A pipeline in which payments need a person, and the people."""

from collections.abc import Mapping
from typing import Any

from gateway.model.facts import Approver
from gateway.model.outcome import Outcome, Succeeded, Waiting
from gateway.pipeline.rules import Rules
from gateway.pipeline.runner import Ended
from gateway.transport.answers import tool_result
from tests.pipeline.gate import DEFINITIONS, PAYMENT, PERMIT_ALL, Gate, rules_of

__all__ = [
    "ASK",
    "BOB",
    "CAROL",
    "HOUR",
    "LEADS",
    "PEOPLE",
    "POLICIES",
    "TWO",
    "a_gate",
    "asked",
    "changed_policies",
    "changed_tool",
    "is_done",
    "paid",
    "shown",
    "waits",
]

BOB, CAROL, DAN = Approver("bob", ("leads",)), Approver("carol", ("leads",)), Approver("dan")
EVE = Approver("eve", ("leads",))
PEOPLE = (BOB, CAROL, DAN, EVE)
ASK = """
@id("pay.approval") @obligation("approval:leads") @message("Payments are looked at first.")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
unless {
  context.base has approval && context.base.approval.argsMatch && context.base.approval.by in Gateway::Role::"leads"
};
"""
LEADS = """
@id("leads.approve")
permit (principal in Gateway::Role::"leads", action == Gateway::Action::"approve", resource);
"""
TWO = ASK.replace("argsMatch", "argsMatch && context.base.approval.quorum >= 2")
POLICIES = (PERMIT_ALL, ASK, LEADS)
HOUR = 3_600_000


def a_gate(*policies: str, **more: Any) -> Gate:
    return Gate(*(policies or POLICIES), people=PEOPLE, **more)


def waits(outcome: Outcome) -> str:
    assert isinstance(outcome, Waiting), outcome
    assert outcome.approval
    return outcome.approval


def is_done(outcome: Outcome) -> bool:
    return isinstance(outcome, Succeeded)


def paid(gate: Gate) -> list[Any]:
    """What the payments server was asked to do."""
    return [call.arguments for call in gate.servers["payments"].asked]


async def asked(gate: Gate, arguments: Mapping[str, Any] = PAYMENT, **more: Any) -> str:
    return waits((await gate.run("payments_pay", arguments, **more)).outcome)


def shown(gate: Gate, ended: Ended) -> dict[str, Any]:
    result = tool_result(ended, lambda name: name.replace(".", "_"))
    return {**result["_meta"]["io.toolgate/refusal"], "text": result["content"][0]["text"]}


def changed_tool() -> Rules:
    tools = [{**tool, "description": "Pays."} if tool["name"] == "pay" else tool for tool in DEFINITIONS["payments"]]
    return rules_of(*POLICIES, people=PEOPLE, definitions={**DEFINITIONS, "payments": tools})


def changed_policies() -> Rules:
    return rules_of(*POLICIES, '@id("more") forbid (principal, action, resource) when { false };', people=PEOPLE)
