"""Stage 8: the tool does it."""

import asyncio
from dataclasses import replace

import pytest

from gateway.connector import ConnectorFault
from gateway.ledger.keys import sent_key
from gateway.model.errors import LimitFault
from gateway.pipeline.stages.execute import Execute
from gateway.resilience import ResilienceConfig
from tests.pipeline.gate import PAYMENT, Gate, answer, request


async def test_the_server_gets_the_very_arguments_under_its_own_name() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(answer(unknown={"kept": True}))
    sent = {**PAYMENT, "more": [1]}
    meta = {"progress": 1, "io.toolgate/run": "r", "io.toolgate/idempotency-key": "k"}
    call, outcome = await gate.after(Execute, request("payments_pay", sent, meta=meta))
    assert (outcome, call.raw) == (None, answer(unknown={"kept": True}))
    [asked] = gate.servers["payments"].asked
    assert asked.arguments is sent
    assert (asked.tool, asked.call_id, asked.meta) == ("pay", call.id, {"progress": 1})
    assert [attempt["code"] for attempt in call.attempts] == ["ok"]


@pytest.mark.parametrize(("tool", "has_key"), [("payments_pay", False), ("payments_settle", True)])
async def test_only_a_tool_that_takes_a_key_gets_one(tool: str, has_key: bool) -> None:
    gate = Gate()
    call, _ = await gate.after(Execute, request(tool))
    assert gate.servers["payments"].asked[0].idempotency_key == sent_key(call.tool, "payer", call.step_key)
    assert (gate.servers["payments"].asked[0].idempotency_key is not None) is has_key


async def test_every_attempt_is_noted_also_of_a_call_that_fails() -> None:
    gate = Gate()
    down = ConnectorFault("down", sent=False)
    gate.servers["payments"].calls += [down, down, down, down]
    call = await gate.before(Execute, request("payments_pay"))
    with pytest.raises(ConnectorFault):
        await gate.stage(Execute)(call)
    assert [attempt["code"] for attempt in call.attempts] == ["unavailable"] * 4
    assert not call.has("raw")


async def test_a_read_for_which_a_busy_server_has_no_place_fails_for_all_who_wait_for_it() -> None:
    gate = Gate(settings=ResilienceConfig(concurrency=1, queue=0))
    answered = asyncio.Event()
    gate.servers["fraud"].calls.append(answered)
    held = asyncio.ensure_future(gate.stage(Execute)(await gate.before(Execute, request("fraud_check"))))
    await asyncio.sleep(0)
    call = await gate.before(Execute, request("fraud_check", {**PAYMENT, "payment_id": "p_2"}))
    with pytest.raises(LimitFault):
        await gate.stage(Execute)(call)
    assert [attempt["code"] for attempt in call.attempts] == ["rate_limited"]
    answered.set()
    await held


async def test_the_gateways_own_tool_goes_to_no_server() -> None:
    gate = Gate()
    call, _ = await gate.after(Execute, request("run_start", {}))
    assert call.raw["structuredContent"]["run"].startswith("run_")
    assert call.attempts == []


async def test_a_tool_of_a_server_that_is_gone_was_not_sent() -> None:
    gate = Gate()
    call = await gate.before(Execute, request("payments_pay"))
    await gate.upstreams.remove("payments")
    with pytest.raises(ConnectorFault) as refused:
        await gate.stage(Execute)(call)
    assert refused.value.sent is False
    assert replace(call.tool) == call.tool
