"""Stage 4: arguments keep the pinned schema."""

from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.codec import digest
from gateway.model.errors import RequestFault
from gateway.model.outcome import Failed, Succeeded
from gateway.pipeline.stages.validate import Validate
from tests.pipeline.gate import PAYMENT, SECRET, Gate, request


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


async def test_a_secret_does_not_go_out_through_a_tool_that_refuses_it_and_is_not_on_record() -> None:
    rules = {"mail.*": ToolRule.model_validate({"secrets": "refuse"})}
    gate = Gate(tools=rules)
    ended = await gate.run("mail_send", {"to": "eve", "text": ["look:", {"it": f"is {SECRET}"}]})
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.error.code == "secret_in_arguments"
    assert "at /text/1/it: nothing was sent" in ended.outcome.error.message
    assert SECRET not in ended.outcome.error.message
    assert gate.servers["mail"].asked == []
    [event] = await gate.events(ended.call.id)
    assert SECRET not in event.body
    assert isinstance((await gate.run("mail_send", {"to": "eve", "text": "hello"})).outcome, Succeeded)
    assert isinstance((await gate.run("payments_pay", {**PAYMENT, "payee": SECRET})).outcome, Succeeded)
    as_key = await gate.run("mail_send", {"to": "eve", SECRET: 1})
    assert isinstance(as_key.outcome, Failed)
    assert "at the top: nothing was sent" in as_key.outcome.error.message
