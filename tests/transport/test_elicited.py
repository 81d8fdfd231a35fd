"""Only the client that was sent to a page hears that it is done there."""

from typing import Any

import pytest

from gateway.connector import Rejected
from tests.pipeline.gate import PERMIT_ALL, SECRET, Gate, answer
from tests.transport.asking import LIST, MAY_ASK, PAY
from tests.transport.front import Front
from tests.transport.peer import Peer, Reply

COMPLETE = "notifications/elicitation/complete"
PAGE = {"mode": "url", "message": "Log in.", "url": "https://bank.example/x", "elicitationId": "e-1"}
DONE = {"elicitationId": "e-1", "unknown": None}


async def sends_to_page(call: Any) -> Any:
    return answer({"told": await call.back.ask("elicitation/create", PAGE)})


async def session(front: Front, agent: str = "payer") -> tuple[Peer, Reply]:
    """A legacy client that can be sent to a page, and its own stream."""
    peer = Peer(front, agent)
    await peer.initialize(elicitation={"url": {}})
    return peer, await peer.get().started()


def page_front(*calls: Any) -> Front:
    front = Front(Gate(PERMIT_ALL, *MAY_ASK))
    front.gate.servers["payments"].calls += calls
    front.gate.notices.listen(front.gate.elicited, front.gate.tasks)
    return front


async def closed(*clients: tuple[Peer, Reply]) -> None:
    for peer, stream in clients:
        await peer.delete().ended()
        await stream.ended()


def heard(stream: Reply) -> list[dict[str, Any]]:
    return [message["params"] for message in stream.messages if message["method"] == COMPLETE]


async def test_whoever_was_sent_to_a_page_hears_once_that_it_is_done_and_nobody_else_does() -> None:
    front = page_front(sends_to_page)
    asked, other, stranger = await session(front), await session(front), await session(front, "other")
    call = asked[0].legacy("tools/call", LIST)
    question = await call.message("elicitation/create")
    await asked[0].reply(question["id"], {"action": "accept"}).ended()
    await call.ended()
    servers = front.gate.servers
    servers["mail"].tell(COMPLETE, DONE)  # another server's page of the same name
    servers["payments"].tell(COMPLETE, {**DONE, "note": SECRET})
    servers["payments"].tell(COMPLETE, DONE)
    await asked[1].message(COMPLETE)
    await closed(asked, other, stranger)
    assert heard(asked[1]) == [{**DONE, "note": "[redacted]"}]
    assert heard(other[1]) == heard(stranger[1]) == []


async def test_a_client_that_is_refused_until_it_has_been_at_a_page_hears_that_it_is_done() -> None:
    data = {"elicitations": [PAGE, {**PAGE, "elicitationId": "e-2"}, {**PAGE, "elicitationId": "e" * 300}, {}]}
    front = page_front(Rejected("no", rpc={"code": -32042, "message": "Log in first.", "data": data}))
    asked = await session(front)
    refused = await asked[0].legacy("tools/call", LIST).ended()
    assert refused.messages[0]["error"]["code"] == -32042
    for elicitation in ("e-2", "e" * 300, 7, None):
        front.gate.servers["payments"].tell(COMPLETE, {"elicitationId": elicitation})
    await asked[1].message(COMPLETE)
    await closed(asked)
    assert heard(asked[1]) == [{"elicitationId": "e-2"}]
    decided = [event for event in await front.gate.events() if event.tool == "payments.elicitation/create"]
    assert (len(decided), all("with a refusal" in event.body for event in decided)) == (4, True)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("call", [LIST, PAY], ids=["read", "effect"])
@pytest.mark.parametrize("policies", [(), MAY_ASK], ids=["forbidden", "permitted"])
async def test_a_refusal_that_sends_a_user_to_a_page_is_decided_as_asking_for_it_is(
    era: str, call: Any, policies: tuple[str, ...]
) -> None:
    front, rpc = Front(Gate(PERMIT_ALL, *policies)), {"code": -32042, "message": "x", "data": {"elicitations": [PAGE]}}
    front.gate.servers["payments"].calls.append(Rejected("no", rpc=rpc))
    peer = Peer(front)
    peer.capabilities = {"elicitation": {"url": {}}}
    if era == "legacy":
        await peer.initialize(elicitation={"url": {}})
    reply = await (peer.legacy if era == "legacy" else peer.modern)("tools/call", call).ended()
    [decided] = [event.body for event in await front.gate.events() if event.tool == "payments.elicitation/create"]
    if policies:
        assert reply.messages[0]["error"] == rpc
    else:
        assert reply.messages[0]["result"]["_meta"]["io.toolgate/refusal"]["code"] == "rejected"
        assert b"bank.example" not in reply.body
    assert ("with a refusal" in decided, "denied" in decided) == (bool(policies), not policies)


async def test_a_client_that_cannot_be_asked_is_sent_to_no_page() -> None:
    front = page_front(Rejected("no", rpc={"code": -32042, "message": "x", "data": {"elicitations": [PAGE]}}))
    peer = Peer(front)
    await peer.initialize()
    refused = await peer.legacy("tools/call", LIST).ended()
    assert (b"bank.example" in refused.body, b"does not offer" in refused.body) == (False, True)


async def test_an_error_that_names_no_pages_in_their_shape_is_withheld() -> None:
    odd = [
        None,
        {},
        {"elicitations": {}},
        {"elicitations": []},
        {"elicitations": [PAGE, 7]},
        {"elicitations": [PAGE] * 17},
    ]
    front = page_front(*(Rejected("no", rpc={"code": -32042, "message": "x", "data": data}) for data in odd))
    front.gate.servers["payments"].calls.append(Rejected("no", rpc={"code": 1, "message": "x"}))
    peer = Peer(front)
    await peer.initialize(elicitation={"url": {}})
    for _ in odd:
        said = (await peer.legacy("tools/call", LIST).ended()).messages[0]["result"]
        assert said["_meta"]["io.toolgate/refusal"]["code"] == "contract_broken"
    assert (await peer.legacy("tools/call", LIST).ended()).messages[0]["error"]["code"] == 1


def test_of_very_many_pages_the_oldest_is_forgotten() -> None:
    elicited = Gate().elicited
    for number in range(10_001):
        elicited.asked("bank", {"elicitationId": str(number)}, "s")
    assert elicited.completed("bank", {"elicitationId": "0"})[0] == ""
    assert elicited.completed("bank", {"elicitationId": "1"})[0] == "s"
