"""Virtual endpoints: a part of everything, for some agents, under the servers' own names."""

import pytest

from gateway.catalog.config import EndpointSection, Names
from tests.pipeline.gate import answer
from tests.pipeline.people import ASK, LEADS, PEOPLE, asked
from tests.transport.front import Front
from tests.transport.peer import Peer
from tests.transport.test_offers import EVERYTHING, EVERYTHING_OF_MAIL, answered, listed, offering_front

MAIL = EndpointSection(servers=["mail"])
BARE = EndpointSection(servers=["mail", "payments"], names=Names.BARE)
PAYERS = EndpointSection(agents=["payer"])
TEAM = EndpointSection(teams=["finance"])
READ_ONLY = EndpointSection(servers=["payments"], tools=["payments.list"])
ENDPOINTS = {"mail": MAIL, "bare": BARE, "payers": PAYERS, "team": TEAM, "reads": READ_ONLY}


async def tools_at(front: Front, path: str) -> set[str]:
    own = {"tools_search", "tools_describe", "tools_call", "tools_read_result"}
    return set(await listed(front, "tools/list", "name", path)) - own


async def test_an_endpoint_shows_its_servers_and_nothing_else() -> None:
    front = offering_front(endpoints=ENDPOINTS)
    assert await tools_at(front, "/mcp/mail") == {"mail_send"}
    assert await listed(front, "resources/list", "uri", "/mcp/mail") == ["shared://x", "mail://own"]
    assert await tools_at(front, "/mcp/reads") == {"payments_list"}
    peer = Peer(front, path="/mcp/mail")
    refused = (await answered(peer.modern("tools/call", {"name": "payments_list", "arguments": {}})))["result"]
    assert refused["_meta"]["io.toolgate/refusal"]["code"] == "unknown_tool"
    error = (await answered(peer.modern("prompts/get", {"name": "payments_greet"})))["error"]
    assert error["code"] == -32602
    assert front.gate.servers["payments"].asked == []


@pytest.mark.parametrize("path", ["/mcp/reads", "/mcp/bare"])
async def test_what_an_agent_is_told_to_ask_about_its_approval_is_there_at_every_endpoint(path: str) -> None:
    front = offering_front(ASK, LEADS, EVERYTHING, endpoints=ENDPOINTS, people=PEOPLE)
    assert "approvals_wait" in await tools_at(front, path)
    approval = await asked(front.gate)
    asking = {"name": "approvals_wait", "arguments": {"approval": approval, "seconds": 0.1}}
    told = (await answered(Peer(front, path=path).modern("tools/call", asking)))["result"]
    assert told["structuredContent"]["state"] == "pending"


async def test_a_slash_at_the_end_of_the_address_makes_no_difference() -> None:
    front = offering_front(endpoints=ENDPOINTS)
    assert await tools_at(front, "/mcp/mail/") == {"mail_send"}
    assert await tools_at(front, "/mcp/") == await tools_at(front, "/mcp")
    assert (await front.send("POST", "/mcp//", json={})).status_code == 404


async def test_bare_names_are_the_servers_own_where_nobody_else_has_them() -> None:
    front = offering_front(endpoints=ENDPOINTS)
    assert await tools_at(front, "/mcp/bare") == {"pay", "settle", "list", "send"}
    names = await listed(front, "prompts/list", "name", "/mcp/bare")
    assert names == ["payments_greet", "only_payments", "mail_greet", "only_mail"]
    peer = Peer(front, path="/mcp/bare")
    front.gate.servers["payments"].calls.append(answer({"n": 1}))
    called = (await answered(peer.modern("tools/call", {"name": "list", "arguments": {}})))["result"]
    assert called["structuredContent"] == {"n": 1}
    front.gate.servers["mail"].calls.append({"messages": []})
    assert "result" in await answered(peer.modern("prompts/get", {"name": "only_mail"}))


async def test_a_prompt_called_as_another_is_shown_keeps_its_full_name() -> None:
    front = offering_front(endpoints=ENDPOINTS)
    front.gate.servers["payments"].has["prompts/list"] = [{"name": "mail_greet"}, {"name": "greet"}]
    names = await listed(front, "prompts/list", "name", "/mcp/bare")
    assert len(set(names)) == len(names)
    assert "mail_greet" in names
    front.gate.servers["mail"].calls.append({"messages": []})
    await answered(Peer(front, path="/mcp/bare").modern("prompts/get", {"name": "mail_greet"}))
    assert (len(front.gate.servers["mail"].asked), front.gate.servers["payments"].asked) == (1, [])


@pytest.mark.parametrize(("path", "agent", "status"), [("payers", "payer", 200), ("payers", "other", 404)])
async def test_an_endpoint_is_there_only_for_those_it_is_for(path: str, agent: str, status: int) -> None:
    front = offering_front(endpoints=ENDPOINTS)
    peer = Peer(front, agent=agent, path=f"/mcp/{path}")
    for method, params in (("tools/list", None), ("tools/call", {"name": "payments_list", "arguments": {}})):
        assert (await peer.modern(method, params).ended()).status == status
    assert (await peer.legacy("initialize", {"protocolVersion": "2025-11-25"}).ended()).status == status
    refused = [each for each in await front.gate.events() if "no such endpoint" in each.body]
    assert (len(refused) > 0) == (status == 404)


async def test_an_endpoint_for_a_team_or_that_is_not_configured_is_not_there() -> None:
    front = offering_front(endpoints=ENDPOINTS)
    for path in ("team", "nobody"):
        assert (await Peer(front, path=f"/mcp/{path}").modern("tools/list").ended()).status == 404


async def test_a_session_of_one_endpoint_is_not_one_of_another() -> None:
    front = offering_front(endpoints=ENDPOINTS)
    peer = Peer(front, path="/mcp/mail")
    await peer.initialize()
    assert (await peer.legacy("tools/list").ended()).status == 200
    for path in ("/mcp", "/mcp/bare"):
        peer.path = path
        assert (await peer.legacy("tools/list").ended()).status == 404
        assert (await peer.get().ended()).status == 404
        assert (await peer.delete().ended()).status == 404


async def test_policies_are_the_same_at_every_endpoint() -> None:
    front = offering_front(EVERYTHING_OF_MAIL, endpoints=ENDPOINTS)
    peer = Peer(front, path="/mcp/reads")
    result = (await answered(peer.modern("tools/call", {"name": "payments_list", "arguments": {}})))["result"]
    assert result["_meta"]["io.toolgate/refusal"]["code"] == "denied"
