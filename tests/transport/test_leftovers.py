"""What a server said is not kept once its client was told."""

from gateway.connector import Rejected, ToolCall
from tests.fixtures.leftovers import left_of, without_collecting
from tests.pipeline.gate import settle
from tests.transport.peer import Peer
from tests.transport.test_offers import answered, legacy_peer, offering_front


async def test_nothing_is_left_of_an_error_that_was_passed_on() -> None:
    async def refuse(call: ToolCall) -> None:
        raise Rejected("left behind", rpc={"code": -32000, "message": "left behind"})

    front = offering_front()
    with without_collecting():
        for peer in (Peer(front), await legacy_peer(front)):
            front.gate.servers["payments"].calls.append(refuse)
            send = peer.legacy if peer.session else peer.modern
            reply = await answered(send("tools/call", {"name": "payments_list", "arguments": {}}))
            assert reply["error"]["message"] == "left behind"
        front.gate.noted.clear()
        await settle()
        assert left_of("left behind") == []
