"""What ends when a client calls its request off, and what goes on."""

import asyncio
import json
from typing import Any

import pytest

from gateway.store.ports import EventKind
from tests.pipeline.gate import answer, settle
from tests.transport.asking import LIST, PAY, Asks, asking_front
from tests.transport.peer import Peer, Reply

_ENDS = {EventKind.CALL_FINISHED, EventKind.CALL_RECORDED}
KEYED = {"name": "payments_list", "arguments": {}, "_meta": {"io.toolgate/idempotency-key": "k"}}


class Hangs:
    """A server's call that ends only by being cancelled."""

    def __init__(self) -> None:
        self.ended = ""

    async def __call__(self, call: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise


async def hanging(params: dict[str, Any]) -> tuple[Peer, Hangs, Reply]:
    """A call under way in a session."""
    hangs = Hangs()
    peer = Peer(asking_front(hangs))
    await peer.initialize(elicitation={})
    reply = peer.legacy("tools/call", params, request_id="r1")
    while not peer.front.gate.servers["payments"].asked:
        await asyncio.sleep(0)
    return peer, hangs, reply


async def cancel(peer: Peer, request_id: Any) -> None:
    said = await peer.tell("notifications/cancelled", {"requestId": request_id, "reason": "changed my mind"}).ended()
    assert said.status == 202


async def outcome_of(peer: Peer) -> str:
    """What is on record of how the only call ended: the outcome, and the code of its error."""
    [event] = [each for each in await peer.front.gate.events() if each.kind in _ENDS]
    body = json.loads(event.body)
    return f"{body['outcome']} {body['error']['code']}"


async def test_a_read_ends_and_is_on_record_as_cancelled() -> None:
    peer, hangs, reply = await hanging(LIST)
    await cancel(peer, "r1")
    await reply.ended()
    await settle()
    assert (hangs.ended, reply.messages[0]["error"]["code"]) == ("cancelled", -32800)
    assert await outcome_of(peer) == "failed cancelled"


async def test_a_claimed_read_ends_as_failed_and_may_be_made_again() -> None:
    peer, hangs, reply = await hanging(KEYED)
    await cancel(peer, "r1")
    await reply.ended()
    assert hangs.ended == "cancelled"
    assert reply.messages[0]["result"]["_meta"]["io.toolgate/refusal"]["code"] == "cancelled"
    peer.front.gate.servers["payments"].calls.append(answer({"n": 1}))
    again = await peer.legacy("tools/call", KEYED).ended()
    assert again.messages[0]["result"]["structuredContent"] == {"n": 1}


async def test_an_effect_is_cancelled_behind_and_on_record_as_unknown() -> None:
    peer, hangs, reply = await hanging(PAY)
    await cancel(peer, "r1")
    await reply.ended()
    refusal = reply.messages[0]["result"]["_meta"]["io.toolgate/refusal"]
    assert (hangs.ended, refusal["code"], refusal["retryable"]) == ("cancelled", "outcome_unknown", False)
    assert await outcome_of(peer) == "unknown outcome_unknown"
    again = await peer.legacy("tools/call", PAY).ended()
    assert again.messages[0]["result"]["isError"] is True
    assert len(peer.front.gate.servers["payments"].asked) == 1


async def test_a_question_under_way_is_withdrawn_with_the_call() -> None:
    asks = Asks()
    peer = Peer(asking_front(asks))
    await peer.initialize(elicitation={})
    reply = peer.legacy("tools/call", PAY, request_id=7)
    question = await reply.message("elicitation/create")
    await cancel(peer, 7)
    await reply.ended()
    assert asks.ended == "CancelledError"
    withdrawn = await reply.message("notifications/cancelled")
    assert withdrawn["params"]["requestId"] == question["id"]


@pytest.mark.parametrize("request_id", ["other", 1, None, ["r1"], {"id": "r1"}])
async def test_a_request_that_is_not_under_way_cannot_be_called_off(request_id: Any) -> None:
    peer, hangs, reply = await hanging(LIST)
    await cancel(peer, request_id)
    await settle()
    assert (hangs.ended, reply.task.done()) == ("", False)
    await cancel(peer, "r1")
    await reply.ended()
    await cancel(peer, "r1")  # it is over: nothing happens


async def test_a_request_of_another_session_cannot_be_called_off() -> None:
    peer, hangs, reply = await hanging(LIST)
    for agent in ("payer", "other"):
        stranger = Peer(peer.front, agent=agent)
        await stranger.initialize()
        await cancel(stranger, "r1")
    stranger.session = peer.session
    refused = await stranger.tell("notifications/cancelled", {"requestId": "r1"}).ended()
    assert (refused.status, hangs.ended) == (404, "")
    await cancel(peer, "r1")
    await reply.ended()


@pytest.mark.parametrize("params", [LIST, KEYED], ids=["unclaimed", "claimed"])
async def test_the_end_of_a_session_ends_its_reads_under_way(params: dict[str, Any]) -> None:
    peer, hangs, reply = await hanging(params)
    assert (await peer.delete().ended()).status == 204
    await reply.ended()
    await settle()
    assert hangs.ended == "cancelled"
    assert await outcome_of(peer) == "failed cancelled"


async def test_the_end_of_a_session_leaves_an_effect_that_is_under_way_to_complete() -> None:
    goes_on = asyncio.Event()

    async def pays(call: Any) -> Any:
        await goes_on.wait()
        return answer({"paid": True})

    peer = Peer(asking_front(pays))
    await peer.initialize()
    reply = peer.legacy("tools/call", PAY)
    while not peer.front.gate.servers["payments"].asked:
        await asyncio.sleep(0)
    await peer.delete().ended()
    await settle()
    goes_on.set()
    await reply.ended()
    assert reply.messages[0]["result"]["structuredContent"] == {"paid": True}
    [event] = [each for each in await peer.front.gate.events() if each.kind in _ENDS]
    assert json.loads(event.body)["outcome"] == "succeeded"


async def test_the_end_of_a_session_is_not_that_of_another() -> None:
    peer, hangs, reply = await hanging(LIST)
    other = Peer(peer.front)
    await other.initialize()
    await other.delete().ended()
    await settle()
    assert (hangs.ended, reply.task.done()) == ("", False)
    await cancel(peer, "r1")
    await reply.ended()


async def test_a_number_is_not_called_off_by_its_text() -> None:
    hangs = Hangs()
    peer = Peer(asking_front(hangs))
    await peer.initialize()
    reply = peer.legacy("tools/call", LIST, request_id=5)
    await settle()
    await cancel(peer, "5")
    await settle()
    assert hangs.ended == ""
    await cancel(peer, 5)
    await reply.ended()
