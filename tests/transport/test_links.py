"""Links in answers can be followed where several servers have resources: they lead back to the one that made them."""

from typing import Any

import pytest

from gateway.catalog.config import EndpointSection
from tests.pipeline.gate import DEFINITIONS, PERMIT_ALL, answer, rules_of
from tests.transport.asking import LIST
from tests.transport.peer import Peer
from tests.transport.tasking import FORMS, PAY, House, result_of
from tests.transport.test_offers import offering_front

LINKS = [
    {"type": "resource_link", "uri": "shared://x", "name": "x", "more": None},
    {"type": "resource_link", "uri": "made://up", "name": "up"},
    {"type": "resource_link", "uri": "payments://own", "name": "own"},
    {"type": "resource", "resource": {"uri": "shared://x", "blob": "AAEC"}},
    {"type": "text", "text": "shared://x"},
]
LEADS = ["toolgate://payments/shared://x", "toolgate://payments/made://up", "payments://own"]


def uris_in(content: list[Any]) -> list[str]:
    return [block.get("uri") or block["resource"]["uri"] for block in content[:4]]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_link_in_a_result_is_read_from_the_server_that_made_it(era: str) -> None:
    front = offering_front()
    payments = front.gate.servers["payments"]
    payments.calls += [{**answer({"x": 1}), "content": LINKS}, {"contents": [{"uri": "made://up", "text": "up"}]}]
    peer = Peer(front)
    if era == "legacy":
        await peer.initialize()
    send = peer.legacy if era == "legacy" else peer.modern
    result = await result_of(send("tools/call", LIST))
    assert uris_in(result["content"]) == [*LEADS, LEADS[0]]
    assert (result["content"][0]["more"], result["content"][4], result["structuredContent"]) == (
        None,
        LINKS[4],
        {"x": 1},
    )
    read = await result_of(send("resources/read", {"uri": LEADS[1]}))
    assert read["contents"] == [{"uri": LEADS[1], "text": "up"}]
    assert [call.arguments for call in payments.asked if call.method == "resources/read"] == [{"uri": "made://up"}]


async def test_a_link_in_a_prompt_is_read_from_the_server_that_made_it() -> None:
    front = offering_front()
    said = [*({"role": "user", "content": block} for block in LINKS), 7, {"role": "user"}]
    front.gate.servers["payments"].calls += [{"messages": said}, {"messages": said[4:]}, {"messages": 7}]
    got = [await Peer(front).modern("prompts/get", {"name": "payments_greet"}).ended() for _ in range(3)]
    messages = [reply.messages[0].get("result", {}).get("messages") for reply in got]
    assert uris_in([message["content"] for message in messages[0][:4]]) == [*LEADS, LEADS[0]]
    assert (messages[0][4:], messages[1]) == (said[4:], said[4:])


async def test_where_one_server_has_resources_links_are_its_own() -> None:
    front = offering_front(endpoints={"one": EndpointSection(servers=["payments"])})
    front.gate.servers["payments"].calls.append({**answer({}), "content": LINKS})
    result = await result_of(Peer(front, path="/mcp/one").modern("tools/call", LIST))
    assert result["content"] == LINKS


async def test_a_server_without_resources_has_links_of_its_own_making() -> None:
    front = offering_front()
    front.gate.servers["fraud"].calls.append({**answer({"result": "passed"}), "content": LINKS})
    call = {"name": "fraud_check", "arguments": {"payment_id": "p", "payee": "x", "amount": 1}}
    assert (await result_of(Peer(front).modern("tools/call", call)))["content"] == LINKS


def shown(uri: str, **more: Any) -> dict[str, Any]:
    return {"_meta": {"ui": {"resourceUri": uri, **more}, "x": None}}


async def test_a_tool_is_shown_with_the_page_of_its_own_server() -> None:
    pay, *others = DEFINITIONS["payments"]
    check, *rest = DEFINITIONS["fraud"]
    definitions = {
        **DEFINITIONS,
        "payments": [{**pay, **shown("ui://page", csp={})}, *({**each, **shown("ui://mine")} for each in others)],
        "fraud": [{**check, **shown("ui://page")}, *rest],
    }
    front = offering_front()
    front.gate.rules.current = rules_of(PERMIT_ALL, definitions=definitions)
    tools = {tool["name"]: tool for tool in (await result_of(Peer(front).modern("tools/list")))["tools"]}
    assert tools["payments_pay"]["_meta"] == {
        "ui": {"resourceUri": "ui://toolgate/payments/page", "csp": {}},
        "x": None,
    }
    assert tools["fraud_check"]["_meta"]["ui"]["resourceUri"] == "ui://toolgate/fraud/page"
    assert tools["payments_list"]["_meta"]["ui"]["resourceUri"] == "ui://mine"


@pytest.mark.parametrize("form", FORMS)
async def test_a_link_in_the_result_of_a_task_leads_to_the_server_that_made_it(form: str) -> None:
    house = House(form)
    for server in (house.server, house.fraud):
        server.capabilities["resources"] = {}
        server.has["resources/list"] = [{"uri": "shared://x"}]
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    house.server.ends({**answer({"paid": 1}), "content": LINKS})
    await client.get(task_id)
    for _ in range(2):
        result = await client.result(task_id)
        assert uris_in(result["content"])[:2] == LEADS[:2]
        assert result["structuredContent"] == {"paid": 1}
    await house.close()
