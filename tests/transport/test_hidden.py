"""A tool that is not for an agent is told of like one that is not there, whatever is wrong with the call of it."""

import json
from typing import Any

import pytest

from tests.pipeline.gate import PAYMENT, PERMIT_ALL, SECRET, Gate
from tests.transport.front import Front
from tests.transport.peer import Peer
from tests.transport.tasking import result_of

ONLY_LISTS = """
@id("lists") permit (principal, action in [Gateway::Action::"payments.list", Gateway::Action::"tools.call"], resource);
@id("mail") permit (principal, action == Gateway::Action::"mail.send", resource) when { context.base has grant };
"""
NOWHERE = "payments_dig"
HIDDEN = "payments_pay"


async def told(gate: Gate, era: str, name: str, arguments: Any, *, through: bool = False) -> str:
    """Return the whole answer to a call, with the name and the id of the call taken out."""
    peer = Peer(Front(gate))
    asked = {"name": name, "arguments": arguments}
    if through:
        asked = {"name": "tools_call", "arguments": asked}
    if era == "modern":
        result = await result_of(peer.modern("tools/call", asked))
    else:
        await peer.initialize()
        result = await result_of(peer.legacy("tools/call", asked))
    [*_, last] = [event for event in await gate.events() if event.kind == "call.recorded"]
    return json.dumps(result).replace(name, "NAME").replace(last.call_id, "ID")


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("through", [False, True], ids=["itself", "through tools_call"])
async def test_a_hidden_tool_and_none_are_told_apart_in_the_record_alone(era: str, through: bool) -> None:
    gate = Gate(ONLY_LISTS)
    unknown = await told(gate, era, NOWHERE, PAYMENT, through=through)
    assert '"code": "unknown_tool"' in unknown
    for arguments in (PAYMENT, {"amount": "much"}, {}, {**PAYMENT, "payee": SECRET}):
        assert await told(gate, era, HIDDEN, arguments, through=through) == unknown
    await gate.pause("tool:payments.pay")
    assert await told(gate, era, HIDDEN, PAYMENT, through=through) == unknown
    outcomes = [json.loads(event.body) for event in await gate.events() if event.kind == "call.recorded"]
    codes = [each.get("error", {}).get("code", each["outcome"]) for each in outcomes]
    assert codes == ["unknown_tool", "denied", "invalid_arguments", "invalid_arguments", "denied", "paused"]


async def test_what_a_grant_could_open_is_no_secret_for_who_is_denied_it_is_told_how_it_is_opened() -> None:
    gate = Gate(ONLY_LISTS)
    assert '"code": "denied"' in await told(gate, "legacy", "mail_send", {"to": "ann"})


async def test_what_is_refused_for_now_is_told_of_a_tool_that_the_agent_may_use() -> None:
    pays = 'forbid (principal, action == Gateway::Action::"payments.pay", resource) when { context.input has amount };'
    gate = Gate(PERMIT_ALL, f'@id("no") {pays}')
    assert '"code": "denied"' in await told(gate, "modern", HIDDEN, PAYMENT)
    assert '"code": "invalid_arguments"' in await told(gate, "modern", HIDDEN, {})
