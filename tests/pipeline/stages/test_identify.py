"""Stage 1: who is calling."""

import pytest

from gateway.model.errors import IdentityFault
from gateway.model.identity import Credential
from gateway.model.request import Caller
from gateway.pipeline.stages.identify import Identify
from tests.pipeline.gate import Gate, caller, request


async def test_a_registered_agent_is_known_by_its_credential() -> None:
    call, outcome = await Gate().after(Identify, request("payments_pay", agent="other"))
    assert outcome is None
    assert (call.identity.agent, call.identity.method) == ("other", "local")


@pytest.mark.parametrize(
    "stranger",
    [
        Caller(Credential("none", "")),
        Caller(Credential("bearer", "tgl.payer.00"), loopback=True),
        caller("nobody"),
        caller("payer", loopback=False),
    ],
)
async def test_a_stranger_is_refused_and_gets_no_identity(stranger: Caller) -> None:
    gate = Gate()
    call = await gate.before(Identify, request("payments_pay", caller=stranger))
    with pytest.raises(IdentityFault):
        await gate.stage(Identify)(call)
    assert not call.has("identity")
