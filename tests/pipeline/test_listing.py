"""What an agent may see is what it may hope to call."""

import gc
from weakref import ref

import pytest

from gateway.codec import dump, parse
from gateway.model.errors import IdentityFault, LimitFault, RequestFault
from gateway.model.outcome import Denied, Failed
from gateway.resilience.config import RateLimit
from tests.pipeline.gate import DEFINITIONS, PERMIT_ALL, RUN_TOOLS, Gate, caller, rules_of, served

READS_ONLY = """
@id("reads") permit (principal == Gateway::Agent::"other", action in Gateway::Action::"call_tool", resource)
when { resource.readOnly };
@id("payer") permit (principal == Gateway::Agent::"payer", action, resource);
"""
HIDDEN = '@id("hidden") forbid (principal, action == Gateway::Action::"see", resource == Gateway::Tool::"mail.send");'


async def names(gate: Gate, agent: str = "payer") -> list[str]:
    identity = await gate.listing.identify(caller(agent), "tools/list")
    return [str(tool["name"]) for tool in gate.listing.tools(identity)]


async def test_tools_are_listed_under_their_wire_names_with_their_pinned_definitions() -> None:
    gate = Gate()
    identity = await gate.listing.identify(caller(), "tools/list")
    listed = {tool["name"]: tool for tool in gate.listing.tools(identity)}
    assert list(listed) == ["fraud_check", "mail_send", "payments_list", "payments_pay", "payments_settle", *RUN_TOOLS]
    assert listed["fraud_check"] == {**DEFINITIONS["fraud"][0], "name": "fraud_check"}
    assert gate.seen == ["payer"]


async def test_each_agent_sees_what_policies_may_let_it_call() -> None:
    gate = Gate(READS_ONLY)
    assert await names(gate, "other") == ["fraud_check", "payments_list", *RUN_TOOLS]
    assert len(await names(gate, "payer")) == 5 + len(RUN_TOOLS)


async def test_a_tool_that_is_hidden_cannot_be_called_either() -> None:
    gate = Gate(READS_ONLY)
    assert "payments_pay" not in await names(gate, "other")
    ended = await gate.run("payments_pay", agent="other")
    assert isinstance(ended.outcome, Denied)
    assert gate.servers["payments"].asked == []


async def test_a_forbid_to_see_takes_a_tool_off_the_list() -> None:
    assert "mail_send" not in await names(Gate(PERMIT_ALL, HIDDEN))


async def test_a_tool_in_quarantine_is_neither_listed_nor_callable() -> None:
    gate = Gate()
    changed = [{**tool, "description": "new words"} for tool in DEFINITIONS["mail"]]
    gate.rules.current = rules_of(PERMIT_ALL, live=served({"mail": changed}))
    assert "mail_send" not in await names(gate)
    ended = await gate.run("mail_send", {"to": "a"})
    assert isinstance(ended.outcome, Failed)
    assert isinstance(ended.outcome.error, RequestFault)


async def test_a_list_is_made_once_and_again_when_the_rules_change() -> None:
    gate = Gate()
    identity = await gate.listing.identify(caller(), "tools/list")
    first = gate.listing.tools(identity)
    assert gate.listing.tools(identity) is first
    gate.rules.current = rules_of(READS_ONLY)
    assert gate.listing.tools(identity) is not first
    other = await gate.listing.identify(caller("other"), "tools/list")
    assert len(gate.listing.tools(other)) == 2 + len(RUN_TOOLS)


async def test_rules_that_were_replaced_go_with_the_list_of_those_in_their_place_and_wait_for_no_collection() -> None:
    gate = Gate()
    gc.disable()
    try:
        gate.rules.current = rules_of(PERMIT_ALL)
        await names(gate)
        old = ref(gate.rules.current.bundle)
        gate.rules.current = rules_of(READS_ONLY)
        await names(gate)
        assert old() is None
    finally:
        gc.enable()


async def test_memory_for_lists_is_bounded_however_many_identities_ask() -> None:
    gate = Gate()
    identity = await gate.listing.identify(caller(), "tools/list")
    first = gate.listing.tools(identity)
    for number in range(1100):
        gate.listing.tools(type(identity)("payer", "jwt", f"jwt:{number}"))
    assert gate.listing.tools(identity) is not first


async def test_a_list_is_written_once_for_each_agent_and_again_when_the_rules_change() -> None:
    gate = Gate()
    identity = await gate.listing.identify(caller(), "tools/list")
    first = gate.listing.text(identity)
    assert parse(dump(first)) == gate.listing.tools(identity)
    assert gate.listing.text(identity) is first
    gate.rules.current = rules_of(READS_ONLY)
    assert gate.listing.text(identity) is not first


async def test_memory_for_written_lists_is_bounded_however_many_identities_ask() -> None:
    gate = Gate()
    identity = await gate.listing.identify(caller(), "tools/list")
    first = gate.listing.text(identity)
    for number in range(64):
        gate.listing.text(type(identity)("payer", "jwt", f"jwt:{number}"))
    assert gate.listing.text(identity) is not first


async def test_a_stranger_sees_nothing_and_is_on_record() -> None:
    gate = Gate()
    with pytest.raises(IdentityFault):
        await gate.listing.identify(caller("nobody"), "tools/list")
    [event] = await gate.events()
    assert (event.agent, event.tool) == ("unknown", "tools/list")
    assert gate.seen == []


async def test_listing_counts_against_the_rate_and_being_identified_does_not() -> None:
    gate = Gate(rate=RateLimit(calls=1, per_s=60))
    for _ in range(3):
        identity = await gate.listing.identify(caller(), "tools/list")
    gate.listing.tools(identity)
    with pytest.raises(LimitFault):
        gate.listing.tools(identity)
