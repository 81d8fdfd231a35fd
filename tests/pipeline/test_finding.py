"""A catalog too large to be listed: what an agent is listed instead, and what it does with it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.config import EndpointSection, Names
from gateway.codec import parse
from gateway.model.identity import Identity
from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.pipeline.rules import Limits, Rules
from gateway.pipeline.runner import Ended
from gateway.store.ports import EventKind
from tests.pipeline.gate import (
    DEFINITIONS,
    PAYMENT,
    PERMIT_ALL,
    PRECONDITION,
    RUN_TOOLS,
    Gate,
    answer,
    caller,
    request,
    rules_of,
)

FINDERS = ["tools_call", "tools_describe", "tools_search"]
PAY = {"name": "payments_pay", "arguments": PAYMENT}
OWN = """
@id("own") permit (
  principal,
  action in [Gateway::Action::"tools.search", Gateway::Action::"tools.describe", Gateway::Action::"tools.call"],
  resource
);"""
READS = """
@id("reads") permit (
  principal == Gateway::Agent::"other", action in Gateway::Action::"call_tool", resource in Gateway::Server::"payments"
)
when { resource.readOnly };
@id("payer") permit (principal == Gateway::Agent::"payer", action, resource);
"""


def forbidden(action: str, when: str = "") -> str:
    return f'@id("no.{action}") forbid (principal, action == Gateway::Action::"{action}", resource) {when};'


def large(*policies: str, tools: int = 3, endpoints: Mapping[str, EndpointSection] | None = None) -> Gate:
    gate = Gate(*policies)
    rules = gate.rules.current
    gate.rules.current = Rules.of(rules.catalog, rules.bundle, {}, endpoints or {}, Limits(tools))
    return gate


async def listed(gate: Gate, agent: str = "payer", endpoint: str = "") -> list[Any]:
    identity = await gate.listing.identify(caller(agent), "tools/list")
    return [tool["name"] for tool in gate.listing.tools(identity, endpoint)]


async def run(gate: Gate, tool: str, arguments: Mapping[str, Any], agent: str = "payer", **more: Any) -> Ended:
    return await gate.entry.run(request(tool, arguments, agent, **more))


def answered(ended: Ended) -> Any:
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    return ended.outcome.result


def fault(ended: Ended) -> str:
    assert isinstance(ended.outcome, Failed), ended.outcome
    return ended.outcome.error.message


async def found(gate: Gate, query: str, agent: str = "payer", **more: Any) -> list[str]:
    tools = answered(await run(gate, "tools_search", {"query": query}, agent, **more))["structuredContent"]["tools"]
    return [each["name"] for each in tools]


async def test_up_to_the_limit_every_tool_is_listed_and_above_it_those_that_find_them() -> None:
    assert await listed(large(tools=5)) == [
        "fraud_check",
        "mail_send",
        "payments_list",
        "payments_pay",
        "payments_settle",
        *RUN_TOOLS,
    ]
    assert await listed(large(tools=4)) == [*RUN_TOOLS, *FINDERS]


async def test_the_limit_counts_what_the_agent_may_see_at_the_endpoint() -> None:
    endpoints = {
        "small": EndpointSection(servers=["payments"]),
        "tiny": EndpointSection(servers=["payments"], list_limit=2),
        "wide": EndpointSection(list_limit=100, names=Names.BARE),
    }
    gate = large(READS, OWN, tools=3, endpoints=endpoints)
    assert await listed(gate) == [*RUN_TOOLS, *FINDERS]
    assert await listed(gate, "other") == ["payments_list"]
    assert await listed(gate, endpoint="small") == ["payments_list", "payments_pay", "payments_settle"]
    assert await listed(gate, endpoint="tiny") == FINDERS
    assert await listed(gate, endpoint="wide") == [
        "check",
        "send",
        "list",
        "pay",
        "settle",
        *(name[4:] for name in RUN_TOOLS),
    ]


@pytest.mark.parametrize("action", ["tools.search", "tools.describe", "tools.call"])
async def test_who_may_not_find_tools_is_listed_them_all(action: str) -> None:
    names = await listed(large(PERMIT_ALL, forbidden(action)))
    assert "payments_pay" in names
    assert not set(FINDERS) & set(names)


async def test_a_search_finds_what_this_agent_may_see_here_and_says_what_it_does() -> None:
    endpoints = {"mail": EndpointSection(servers=["mail"], names=Names.BARE)}
    gate = large(READS, OWN, endpoints=endpoints)
    assert (await found(gate, "pay a payment"))[0] == "payments_pay"
    assert await found(gate, "payments", "other") == ["payments_list"]
    assert await found(gate, "payments", endpoint="mail") == []
    assert await found(gate, "send", endpoint="mail") == ["send"]
    result = answered(await run(gate, "tools_search", {"query": "send mail", "limit": 1}))
    [hit] = result["structuredContent"]["tools"]
    assert (hit["name"], hit["description"], hit["score"] > 0) == ("mail_send", "", True)
    assert result["structuredContent"]["of"] == 5
    assert result["content"] == [{"type": "text", "text": "mail_send: "}]


async def test_a_search_that_finds_nothing_says_what_to_do() -> None:
    result = answered(await run(large(), "tools_search", {"query": "zzz"}))
    assert "None of the 5 tools fits" in result["content"][0]["text"]
    assert result["structuredContent"] == {"tools": [], "of": 5}


async def test_a_description_is_one_line() -> None:
    gate = large()
    long = {"name": "send", "description": "Send\n  a\tmail. " + "And more. " * 50}
    tools = [replace(t, definition=long) if t.name == "mail.send" else t for t in gate.rules.current.catalog.tools()]
    gate.rules.current = replace(gate.rules.current, catalog=type(gate.rules.current.catalog)(tools))
    [hit] = answered(await run(gate, "tools_search", {"query": "mail"}))["structuredContent"]["tools"]
    assert hit["description"].startswith("Send a mail. And more.")
    assert (len(hit["description"]), hit["description"][-1]) == (160, "…")


async def test_a_description_is_the_definition_that_the_list_would_show() -> None:
    gate = large(READS, OWN)
    asked = {"names": ["fraud_check", "payments.pay", "nowhere", "tools_call", "fraud_check"]}
    result = answered(await run(gate, "tools_describe", asked))
    assert result["structuredContent"] == {
        "tools": [
            {**DEFINITIONS["fraud"][0], "name": "fraud_check"},
            {**DEFINITIONS["payments"][0], "name": "payments_pay"},
        ],
        "missing": ["nowhere", "tools_call"],
    }
    assert parse(result["content"][0]["text"].encode()) == result["structuredContent"]
    theirs = answered(await run(gate, "tools_describe", asked, "other"))["structuredContent"]
    assert theirs["tools"] == []


async def test_an_index_is_made_once_for_all_who_may_see_the_same_and_memory_is_bounded() -> None:
    gate = large()
    views = [gate.listing.view(Identity("payer", "jwt", f"jwt:{number}")) for number in range(3)]
    assert len({id(view._views.index(view.tools)) for view in views}) == 1
    made = views[0]._views
    first = made.index(views[0].tools)
    for number in range(20):
        made.index(views[0].tools[: number % 5] * (number + 1))
    assert len(made._indexes) <= 16
    assert made.index(views[0].tools) is not first
    gate.rules.current = rules_of(PERMIT_ALL)
    assert gate.listing.view(Identity("payer", "jwt", "x"))._views is not made


async def test_a_call_through_tools_call_is_the_call_of_the_tool_itself() -> None:
    gate = large()
    theirs = answer({"receipt": 1}, unknown="kept")
    gate.servers["payments"].calls.append(theirs)
    ended = await run(gate, "tools_call", PAY, meta={"theirs": 1})
    assert answered(ended) == theirs
    [asked] = gate.servers["payments"].asked
    assert (asked.tool, asked.arguments, asked.meta) == ("pay", PAYMENT, {"theirs": 1})
    claimed, finished = await gate.events(ended.call.id)
    assert [claimed.kind, finished.kind] == [EventKind.CALL_CLAIMED, EventKind.CALL_FINISHED]
    assert (claimed.tool, parse(claimed.body.encode())["via"]) == ("payments.pay", "tools.call")
    assert {event.call_id for event in await gate.events() if event.tool} == {ended.call.id}


async def test_the_same_key_is_one_effect_by_either_name() -> None:
    gate = large()
    gate.servers["payments"].calls.append(answer({"receipt": 1}))
    by_name = await run(gate, "payments_pay", PAYMENT, idempotency_key="k1")
    through = await run(gate, "tools_call", PAY, idempotency_key="k1")
    assert isinstance(through.outcome, Succeeded)
    assert through.outcome.replayed_from == by_name.call.id
    assert len(gate.servers["payments"].asked) == 1
    [body] = [parse(event.body.encode()) for event in await gate.events(by_name.call.id)][:1]
    assert "via" not in body


async def test_a_tool_without_arguments_needs_none() -> None:
    gate = large()
    assert answered(await run(gate, "tools.call", {"name": "payments.list"}))
    assert gate.servers["payments"].asked[0].arguments == {}


async def test_policies_on_the_tool_hold_and_a_step_made_through_tools_call_counts() -> None:
    gate = large(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    denied = await run(gate, "tools_call", PAY)
    assert isinstance(denied.outcome, Denied)
    assert denied.call.tool.name == "payments.pay"
    answered(await run(gate, "tools_call", {"name": "fraud_check", "arguments": PAYMENT}))
    answered(await run(gate, "tools_call", PAY))


@pytest.mark.parametrize(
    "policy",
    [forbidden("tools.call"), forbidden("tools.call", 'when { context.input.name like "payments*" }')],
    ids=["always", "for some tools"],
)
async def test_policies_on_tools_call_hold_too(policy: str) -> None:
    gate = large(PERMIT_ALL, policy)
    denied = await run(gate, "tools_call", PAY)
    assert isinstance(denied.outcome, Denied)
    assert denied.outcome.decision.policies == ("no.tools.call",)
    assert gate.servers["payments"].asked == []
    answered(await run(gate, "payments_pay", PAYMENT))
    other = await run(gate, "tools_call", {"name": "mail_send", "arguments": {"to": "a"}})
    assert isinstance(other.outcome, Denied if "when" not in policy else Succeeded)


@pytest.mark.parametrize("name", ["tools_call", "tools.call", "tools_search", "tools.describe"])
async def test_tools_call_calls_neither_itself_nor_its_siblings(name: str) -> None:
    gate = large()
    ended = await run(gate, "tools_call", {"name": name, "arguments": {"name": "payments_pay", "arguments": PAYMENT}})
    assert "call it by its own name" in fault(ended)
    assert ended.call.tool.name == "tools.call"
    assert gate.servers["payments"].asked == []


@pytest.mark.parametrize(
    "arguments",
    [{}, {"name": 7}, {"name": ""}, {"name": "payments_pay", "arguments": []}, {**PAY, "more": 1}, {"name": "n" * 401}],
)
async def test_what_is_no_proper_call_of_tools_call_is_refused_as_one(arguments: dict[str, Any]) -> None:
    gate = large()
    ended = await run(gate, "tools_call", arguments)
    assert "The arguments of tools_call break its schema" in fault(ended)
    assert [event.tool for event in await gate.events()] == ["tools.call"]


async def test_refusals_say_what_to_do_through_these_tools() -> None:
    gate = large()
    unknown = fault(await run(gate, "tools_call", {"name": "payments_pai", "arguments": PAYMENT}))
    assert (
        unknown == "There is no tool 'payments_pai'. Did you mean payments_pay? Find the right name with tools_search."
    )
    invalid = fault(await run(gate, "tools_call", {"name": "payments_pay"}))
    assert 'tools_describe {"names": ["payments_pay"]} shows it' in invalid
    assert "tools_describe" not in fault(await run(gate, "payments_pay", {}))


async def test_a_wrong_name_does_not_tell_of_tools_the_agent_may_not_see() -> None:
    gate = large(READS, OWN)
    assert "Did you mean mail_send?" in fault(await run(gate, "mail_sen", {}))
    assert "Did you mean" not in fault(await run(gate, "mail_sen", {}, "other"))
    assert "Did you mean payments_list?" in fault(await run(gate, "payments_lisd", {}, "other"))


async def test_an_endpoint_without_the_tool_has_it_not_through_tools_call_either() -> None:
    gate = large(endpoints={"mail": EndpointSection(servers=["mail"], names=Names.BARE)})
    assert "There is no tool" in fault(await run(gate, "tools_call", PAY, endpoint="mail"))
    answered(await run(gate, "tools_call", {"name": "send", "arguments": {"to": "a"}}, endpoint="mail"))
    assert isinstance((await run(gate, "tools_call", PAY, endpoint="nowhere")).outcome, Failed)
