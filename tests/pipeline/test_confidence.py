"""How sure an agent says it is: a low figure adds scrutiny, a high one takes none away."""

from typing import Any

import pytest

from gateway.model.outcome import Denied, Succeeded
from gateway.pipeline.runner import Ended
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer
from tests.pipeline.people import LEADS, a_gate, waits

UNSURE = """
@id("unsure") @obligation("approval:leads") @message("A person looks at it first.")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
when { context.base has confidence && context.base.confidence.lessThan(decimal("0.8")) }
unless { context.base has approval && context.base.approval.argsMatch };
"""
NEVER = '@id("never") forbid (principal, action == Gateway::Action::"payments.pay", resource);'


async def pay(gate: Gate, said: Any, **more: Any) -> Ended:
    gate.servers["payments"].calls.append(answer())
    return await gate.run("payments_pay", PAYMENT, meta={"io.toolgate/confidence": said}, **more)


@pytest.mark.parametrize("said", [0.8, 1, 1.0, 0.95001])
async def test_an_agent_that_is_sure_is_treated_as_one_that_says_nothing(said: Any) -> None:
    gate = a_gate(PERMIT_ALL, UNSURE, LEADS)
    assert isinstance((await pay(gate, said)).outcome, Succeeded)
    gate.servers["payments"].calls.append(answer())
    assert isinstance((await gate.run("payments_pay", {**PAYMENT, "payment_id": "p_2"})).outcome, Succeeded)


@pytest.mark.parametrize(
    "said", [0, 0.79999, 0.5, -0.1, 1.01, 100, "0.9", "sure", None, True, [0.9], 10**30, float("nan")]
)
async def test_an_agent_that_is_not_or_says_nonsense_waits_for_a_person(said: Any) -> None:
    assert waits((await pay(a_gate(PERMIT_ALL, UNSURE, LEADS), said)).outcome)


async def test_however_sure_what_is_forbidden_stays_so() -> None:
    assert isinstance((await pay(a_gate(PERMIT_ALL, UNSURE, LEADS, NEVER), 1.0)).outcome, Denied)


async def test_a_call_that_comes_again_is_answered_whatever_it_says_then() -> None:
    gate = a_gate(PERMIT_ALL, UNSURE, LEADS)
    first = await pay(gate, 0.9, run="job", idempotency_key="k1")
    again = await pay(gate, 0.1, run="job", idempotency_key="k1")
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == first.call.id
