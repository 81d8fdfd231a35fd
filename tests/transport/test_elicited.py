"""Only the client that was sent to a page hears that it is done there."""

from typing import Any

from gateway.connector import Rejected
from tests.pipeline.gate import PERMIT_ALL, SECRET, Gate, answer
from tests.transport.asking import LIST, MAY_ASK
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
    data = {"elicitations": [PAGE, {**PAGE, "elicitationId": "e-2"}, {**PAGE, "elicitationId": "e" * 300}, 7, {}]}
    front = page_front(Rejected("no", rpc={"code": -32042, "message": "Log in first.", "data": data}))
    asked = await session(front)
    refused = await asked[0].legacy("tools/call", LIST).ended()
    assert refused.messages[0]["error"]["code"] == -32042
    for elicitation in ("e-2", "e" * 300, 7, None):
        front.gate.servers["payments"].tell(COMPLETE, {"elicitationId": elicitation})
    await asked[1].message(COMPLETE)
    await closed(asked)
    assert heard(asked[1]) == [{"elicitationId": "e-2"}]


async def test_an_error_that_names_no_pages_is_an_error_and_nothing_else() -> None:
    odd = [{"code": -32042, "message": "x", "data": data} for data in (None, {}, {"elicitations": {}})]
    front = page_front(*(Rejected("no", rpc=rpc) for rpc in odd), Rejected("no", rpc={"code": 1, "message": "x"}))
    peer = Peer(front)
    await peer.initialize()
    for code in (-32042, -32042, -32042, 1):
        assert (await peer.legacy("tools/call", LIST).ended()).messages[0]["error"]["code"] == code


def test_of_very_many_pages_the_oldest_is_forgotten() -> None:
    elicited = Gate().elicited
    for number in range(10_001):
        elicited.asked("bank", {"elicitationId": str(number)}, "s")
    assert elicited.completed("bank", {"elicitationId": "0"})[0] == ""
    assert elicited.completed("bank", {"elicitationId": "1"})[0] == "s"
