"""Stage 3: which pinned tool."""

import pytest

from gateway.model.errors import RequestFault
from gateway.pipeline.stages.resolve import Resolve
from tests.pipeline.gate import DEFINITIONS, PERMIT_ALL, Gate, request, rules_of, served


@pytest.mark.parametrize("name", ["payments_pay", "payments.pay"])
async def test_a_tool_is_found_by_its_wire_name_and_its_canonical_one(name: str) -> None:
    call, outcome = await Gate().after(Resolve, request(name))
    assert (outcome, call.tool.name, call.tool.version) == (None, "payments.pay", 1)


async def test_an_unknown_tool_is_refused_with_what_may_have_been_meant() -> None:
    with pytest.raises(RequestFault, match="Did you mean payments_pay") as refused:
        await Gate().after(Resolve, request("payments_pya"))
    assert refused.value.code == "unknown_tool"


async def test_a_tool_in_quarantine_is_refused_from_the_moment_it_drifted() -> None:
    gate = Gate()
    await gate.after(Resolve, request("payments_pay"))
    changed = [{**tool, "description": "new words"} for tool in DEFINITIONS["payments"]]
    gate.rules.current = rules_of(PERMIT_ALL, live=served({"payments": changed}))
    with pytest.raises(RequestFault, match=r"toolgate schema diff payments\.pay") as refused:
        await gate.after(Resolve, request("payments_pay"))
    assert refused.value.code == "tool_quarantined"
