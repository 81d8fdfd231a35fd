"""Stage 10: what must not reach the agent."""

import pytest

from gateway.pipeline.stages.redact import Redact
from tests.pipeline.gate import PERMIT_ALL, SECRET, Gate, answer, request

MASKED = """
@id("without-iban") @obligation("redact:iban, name")
permit (principal, action in Gateway::Action::"call_tool", resource);
"""


async def test_an_answer_without_secrets_is_the_very_object_the_tool_gave() -> None:
    call, outcome = await Gate().after(Redact, request("payments_pay"))
    assert outcome is None
    assert call.result is call.raw


async def test_a_secret_of_the_gateway_is_taken_out_of_the_answer() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(answer({"echo": f"used {SECRET}"}))
    call, _ = await gate.after(Redact, request("payments_pay"))
    assert SECRET not in str(call.result)
    assert SECRET in str(call.raw)


@pytest.mark.parametrize("policies", [(MASKED,), (MASKED, PERMIT_ALL)])
async def test_fields_that_a_permit_obliges_to_mask_are_masked(policies: tuple[str, ...]) -> None:
    gate = Gate(*policies)
    gate.servers["payments"].calls.append(answer({"iban": "DE00", "owner": {"name": "A", "id": 1}, "amount": 3}))
    call, _ = await gate.after(Redact, request("payments_pay"))
    structured = call.result["structuredContent"]
    assert "DE00" not in str(structured)
    assert structured["amount"] == 3
    assert (structured["owner"]["name"] == "A", structured["owner"]["id"]) == (False, 1)
