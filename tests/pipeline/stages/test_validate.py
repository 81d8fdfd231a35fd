"""Stage 4: arguments keep the pinned schema."""

from typing import Any

import pytest

from gateway.codec import digest
from gateway.model.errors import RequestFault
from gateway.pipeline.stages.validate import Validate
from tests.pipeline.gate import PAYMENT, Gate, request


async def test_the_very_object_the_agent_sent_goes_on_with_its_digest() -> None:
    sent = {**PAYMENT, "unknown": [1, {"deep": None}]}
    call, outcome = await Gate().after(Validate, request("payments_pay", sent))
    assert outcome is None
    assert call.arguments is sent
    assert call.arguments_digest == digest(sent)


@pytest.mark.parametrize("arguments", [{}, {**PAYMENT, "amount": "250"}, {**PAYMENT, "payee": None}])
async def test_arguments_that_break_the_schema_are_refused_by_tool(arguments: dict[str, Any]) -> None:
    with pytest.raises(RequestFault, match="payments_pay break its schema") as refused:
        await Gate().after(Validate, request("payments_pay", arguments))
    assert refused.value.code == "invalid_arguments"


async def test_a_value_that_json_cannot_carry_exactly_is_refused() -> None:
    gate = Gate()
    call = await gate.before(Validate, request("payments_pay", {**PAYMENT, "more": float("inf")}))
    with pytest.raises(RequestFault, match="JSON cannot carry"):
        await gate.stage(Validate)(call)
    assert not call.has("arguments")
