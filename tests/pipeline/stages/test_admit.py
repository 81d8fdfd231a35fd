"""Stage 2: whether calls are taken now."""

import pytest

from gateway.model.errors import LimitFault
from gateway.pipeline.stages.admit import Admit
from gateway.resilience.config import RateLimit
from tests.pipeline.gate import Gate, request


async def test_a_call_within_the_limits_goes_on() -> None:
    _, outcome = await Gate(rate=RateLimit(calls=1, per_s=1)).after(Admit, request("payments_pay"))
    assert outcome is None


async def test_an_agent_above_its_rate_is_told_when() -> None:
    gate = Gate(rate=RateLimit(calls=1, per_s=4))
    await gate.after(Admit, request("payments_pay"))
    with pytest.raises(LimitFault) as refused:
        await gate.after(Admit, request("payments_pay"))
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 4.0)
    await gate.after(Admit, request("payments_pay", agent="other"))


async def test_a_paused_agent_and_a_stopping_gateway_take_no_call() -> None:
    gate = Gate()
    await gate.pause("agent:payer", "on fire")
    with pytest.raises(LimitFault, match="on fire"):
        await gate.after(Admit, request("payments_pay"))
    await gate.after(Admit, request("payments_pay", agent="other"))
    gate.admission.stop()
    with pytest.raises(LimitFault) as refused:
        await gate.after(Admit, request("payments_pay", agent="other"))
    assert refused.value.code == "shutting_down"
