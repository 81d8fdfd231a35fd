"""What a client of the handshake eras hears and is asked while its request is under way."""

import asyncio
import json
from typing import Any

import pytest

from gateway.model.back import NOBODY, AskRefused
from gateway.store.ports import EventKind
from gateway.transport.back import LegacyBack
from gateway.transport.wire import RpcRequest
from tests.pipeline.gate import SECRET, answer, settle
from tests.transport.asking import ELICIT, LIST, PAY, Asks, Tells, asking_front
from tests.transport.peer import Peer, Reply

PROGRESS = ("notifications/progress", {"progressToken": "theirs", "progress": 1})
LOG = ("notifications/message", {"level": "info", "data": "working"})


def with_token(params: dict[str, Any], token: Any = "mine") -> dict[str, Any]:
    return {**params, "_meta": {"progressToken": token}}


async def asking_peer(*calls: Any, version: str = "2025-11-25", **more: Any) -> Peer:
    peer = Peer(asking_front(*calls, **more))
    await peer.initialize(version, elicitation={}, sampling={})
    return peer


async def test_without_anything_said_before_the_answer_is_plain_json() -> None:
    peer = await asking_peer(Tells())
    reply = await peer.legacy("tools/call", LIST).ended()
    assert reply.headers["content-type"] == "application/json"


async def test_what_a_server_tells_comes_before_its_answer_on_one_stream() -> None:
    peer = await asking_peer(Tells(PROGRESS, LOG, PROGRESS))
    reply = await peer.legacy("tools/call", with_token(LIST)).ended()
    assert reply.headers["content-type"] == "text/event-stream"
    methods = [message.get("method", "answer") for message in reply.messages]
    assert methods == ["notifications/progress", "notifications/message", "notifications/progress", "answer"]
    assert reply.messages[0]["params"] == {"progressToken": "mine", "progress": 1}
    assert reply.messages[-1]["result"]["structuredContent"] == {"told": 3}


@pytest.mark.parametrize("token", [None, True, 1.5, {"a": 1}])
async def test_progress_that_was_not_asked_for_is_not_told(token: Any) -> None:
    peer = await asking_peer(Tells(PROGRESS))
    reply = await peer.legacy("tools/call", with_token(LIST, token)).ended()
    assert reply.headers["content-type"] == "application/json"


async def test_logs_below_the_level_the_client_set_are_not_told() -> None:
    debug, own = ("notifications/message", {"level": "debug"}), ("notifications/message", {"level": "shout"})
    peer = await asking_peer(Tells(debug, LOG, own), Tells(debug, LOG))
    first = await peer.legacy("tools/call", LIST).ended()
    assert len(first.messages) == 4
    assert (await peer.legacy("logging/setLevel", {"level": "info"}).ended()).messages[0]["result"] == {}
    second = await peer.legacy("tools/call", LIST).ended()
    assert [message.get("params", {}).get("level") for message in second.messages] == ["info", None]


async def test_only_a_session_that_can_hear_it_leaves_it_to_the_server_what_is_logged() -> None:
    peer = await asking_peer(Tells(), Tells(), Tells())
    await peer.legacy("tools/call", LIST).ended()
    message = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": LIST}
    await peer.request("POST", json.dumps(message).encode(), accept="application/json").ended()
    await peer.modern("tools/call", LIST).ended()
    told = [call.back.logs_by_default for call in peer.front.gate.servers["payments"].asked]
    assert told == [True, False, False]


@pytest.mark.parametrize("level", [None, "loud", 7])
async def test_a_level_nobody_knows_is_refused(level: Any) -> None:
    peer = await asking_peer()
    reply = await peer.legacy("logging/setLevel", {"level": level}).ended()
    assert reply.messages[0]["error"]["code"] == -32602


async def test_a_secret_of_the_gateway_is_in_nothing_a_server_tells_or_asks() -> None:
    leak = ("notifications/message", {"level": "info", "data": f"key {SECRET}"})
    peer = await asking_peer(Tells(leak), Asks([("elicitation/create", {**ELICIT, "message": SECRET})]))
    assert SECRET not in (await peer.legacy("tools/call", LIST).ended()).body.decode()
    reply = peer.legacy("tools/call", LIST)
    question = await reply.message("elicitation/create")
    assert SECRET not in str(question)
    await peer.reply(question["id"], {"action": "cancel"}).ended()
    await reply.ended()


@pytest.mark.parametrize(("version", "primed"), [("2025-11-25", True), ("2025-06-18", False), ("2024-11-05", False)])
async def test_only_clients_that_know_it_get_an_event_to_come_back_to_first(version: str, primed: bool) -> None:
    peer = await asking_peer(Tells(PROGRESS), version=version)
    reply = await peer.legacy("tools/call", with_token(LIST)).ended()
    assert (reply.events[0]["data"] == "") == primed
    assert not any("retry" in event for event in reply.events)  # which the Java SDK 1 takes for a broken stream
    assert all("id" in event for event in reply.events)


async def test_a_client_is_asked_on_the_stream_and_answers_by_post() -> None:
    asks = Asks()
    peer = await asking_peer(asks)
    reply = peer.legacy("tools/call", PAY)
    question = await reply.message("elicitation/create")
    assert question["params"] == ELICIT
    answered = await peer.reply(question["id"], {"action": "accept", "content": {"ok": True}}).ended()
    assert (answered.status, answered.body) == (202, b"")
    await reply.ended()
    assert reply.messages[-1]["result"]["structuredContent"] == {
        "told": [{"action": "accept", "content": {"ok": True}}]
    }
    assert len(peer.front.delivered) == 1


async def test_how_far_a_client_is_with_a_question_is_told_to_the_one_call_that_asks_it() -> None:
    heard: dict[str, list[Any]] = {"a": [], "b": []}

    def asks(name: str) -> Any:
        async def ask(call: Any) -> Any:
            params = {**ELICIT, "_meta": {"progressToken": "same", "x": None}}
            return answer({"told": await call.back.ask("elicitation/create", params, heard[name].append)})

        return ask

    peer = await asking_peer(asks("a"), asks("b"))
    calls = [peer.legacy("tools/call", LIST), peer.legacy("tools/call", LIST)]
    questions = [await call.message("elicitation/create") for call in calls]
    tokens = [question["params"]["_meta"]["progressToken"] for question in questions]
    assert [question["params"]["_meta"]["x"] for question in questions] == [None, None]
    stranger = Peer(peer.front)
    await stranger.initialize(elicitation={})
    for who, token in ((stranger, tokens[0]), (peer, "same"), (peer, [1]), (peer, tokens[1])):
        await who.tell("notifications/progress", {"progressToken": token, "progress": 1}).ended()
    for question in questions:
        await peer.reply(question["id"], {"action": "accept"}).ended()
    for call in calls:
        await call.ended()
    await peer.tell("notifications/progress", {"progressToken": tokens[0], "progress": 2}).ended()
    assert heard == {"a": [], "b": [{"progressToken": tokens[1], "progress": 1}]}


async def test_what_a_server_logs_between_calls_is_told_on_the_sessions_own_stream_from_its_level_on() -> None:
    ways: list[Any] = []

    async def stays(call: Any) -> Any:
        ways.append(call.back.between())
        return answer({})

    peer = await asking_peer(stays, stays)
    other = Peer(peer.front)
    await other.initialize(elicitation={})
    await peer.legacy("tools/call", LIST).ended()
    ways[0].notify(*LOG)  # nobody listens yet
    streams = [await each.get().started() for each in (peer, other)]
    await peer.legacy("logging/setLevel", {"level": "warning"}).ended()
    for level in ("info", "error"):
        ways[0].notify("notifications/message", {"level": level, "data": SECRET})
    ways[0].notify(*PROGRESS)
    assert (await streams[0].message("notifications/message"))["params"] == {"level": "error", "data": "[redacted]"}
    for each, stream in zip((peer, other), streams, strict=True):
        await each.delete().ended()
        await stream.ended()
    ways[0].notify("notifications/message", {"level": "error", "data": "late"})
    assert [len(stream.messages) for stream in streams] == [1, 0]
    modern = Peer(peer.front)
    await modern.modern("tools/call", LIST).ended()
    assert ways[1] is NOBODY


async def test_an_error_of_the_client_goes_to_the_server_as_it_is() -> None:
    asks = Asks([("elicitation/create", ELICIT), ("sampling/createMessage", {}), ("elicitation/create", {})])
    peer = await asking_peer(asks)
    reply = peer.legacy("tools/call", LIST)
    await reply.message("sampling/createMessage")
    await settle()
    questions = [message for message in reply.messages if "id" in message]
    await peer.reply(questions[0]["id"], error={"code": -1, "message": "User rejected"}).ended()
    await peer.reply(questions[1]["id"], result="no object").ended()
    await peer.reply(questions[2]["id"], error={"code": "x"}).ended()
    await reply.ended()
    assert asks.told[0] == [-1, "User rejected"]
    assert [told[0] for told in asks.told[1:]] == [-32603, -32603]


async def test_answers_to_no_question_twice_or_of_another_session_change_nothing() -> None:
    asks = Asks()
    peer = await asking_peer(asks)
    stranger = Peer(peer.front)
    await stranger.initialize(elicitation={})
    reply = peer.legacy("tools/call", LIST)
    question = await reply.message("elicitation/create")
    for request_id in ("ask-0000", 7, None, {"a": 1}):
        assert (await peer.reply(request_id, {"action": "accept"}).ended()).status == 202
    assert (await stranger.reply(question["id"], {"action": "accept"}).ended()).status == 202
    other = Peer(peer.front, agent="other")
    other.session = peer.session
    assert (await other.reply(question["id"], {"action": "accept"}).ended()).status == 404
    assert asks.told == []
    await peer.reply(question["id"], {"action": "decline"}).ended()
    await peer.reply(question["id"], {"action": "accept"}).ended()
    await reply.ended()
    assert asks.told == [{"action": "decline"}]


async def test_a_client_that_cannot_be_asked_is_not_and_the_server_is_told() -> None:
    asks = Asks([("roots/list", {}), ("elicitation/create", ELICIT)])
    peer = await asking_peer(asks)
    reply = peer.legacy("tools/call", LIST)
    await peer.reply((await reply.message("elicitation/create"))["id"], {"action": "accept"}).ended()
    await reply.ended()
    assert asks.told == [[-32601, "The client does not offer roots/list"], {"action": "accept"}]


async def test_a_client_that_takes_no_streams_is_not_asked() -> None:
    asks = Asks()
    peer = await asking_peer(asks)
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": LIST}
    reply = await peer.post(message, accept="application/json").ended()
    assert reply.headers["content-type"] == "application/json"
    assert asks.told[0][0] == -32601


async def test_capabilities_that_are_no_objects_are_none() -> None:
    asks = Asks()
    peer = Peer(asking_front(asks))
    await peer.legacy("initialize", {"protocolVersion": "2025-11-25", "capabilities": ["elicitation"]}).ended()
    await peer.initialize(elicitation=True)
    await peer.legacy("tools/call", LIST).ended()
    assert asks.told[0][0] == -32601


async def test_a_question_no_policy_allows_is_refused_on_record_and_never_asked() -> None:
    asks = Asks()
    peer = await asking_peer(asks, policies=[])
    reply = await peer.legacy("tools/call", LIST).ended()
    assert reply.headers["content-type"] == "application/json"
    [event] = [each for each in await peer.front.gate.events() if each.tool == "payments.elicitation/create"]
    assert ('"denied"' in event.body, asks.told[0][0]) == (True, -31403)


async def test_a_question_is_on_record_with_its_answer_but_for_secrets() -> None:
    peer = await asking_peer(Asks())
    reply = peer.legacy("tools/call", LIST)
    question = await reply.message("elicitation/create")
    await peer.reply(question["id"], {"action": "accept", "content": {"password": "hunter22"}}).ended()
    await reply.ended()
    [event] = [each for each in await peer.front.gate.events() if each.tool == "payments.elicitation/create"]
    assert ("Really?" in event.body, '"accept"' in event.body, "hunter22" in event.body) == (True, True, False)


async def test_the_end_of_the_session_ends_the_question() -> None:
    asks = Asks()
    peer = await asking_peer(asks)
    reply = peer.legacy("tools/call", PAY)
    await reply.message("elicitation/create")
    assert (await peer.delete().ended()).status == 204
    await reply.ended()
    assert asks.told == [[-32001, "The client ended its session"]]


async def test_the_end_of_the_gateway_ends_the_question() -> None:
    asks = Asks()
    peer = await asking_peer(asks)
    reply = peer.legacy("tools/call", LIST)
    await reply.message("elicitation/create")
    peer.front.sessions.stop()
    await reply.ended()
    assert asks.told == [[-32001, "The gateway is stopping"]]


async def test_a_server_that_no_longer_asks_has_the_question_withdrawn() -> None:
    async def impatient(call: Any) -> Any:
        question = asyncio.ensure_future(call.back.ask("elicitation/create", ELICIT))
        await settle()
        question.cancel()
        await asyncio.wait({question})
        return answer({"asked": question.cancelled()})

    peer = await asking_peer(impatient)
    reply = await peer.legacy("tools/call", LIST).ended()
    asked, cancelled = await reply.message("elicitation/create"), await reply.message("notifications/cancelled")
    assert cancelled["params"]["requestId"] == asked["id"]
    assert reply.messages[-1]["result"]["structuredContent"] == {"asked": True}
    [event] = [each for each in await peer.front.gate.events() if each.tool == "payments.elicitation/create"]
    assert "cancelled" in event.body


async def broken_off(peer: Peer, may_go_on: asyncio.Event, *said: Any) -> Reply:
    """A call whose connection breaks after the first thing that was said."""

    async def slow(call: Any) -> Any:
        call.back.notify(*LOG)
        await may_go_on.wait()
        for each in said:
            call.back.notify(*each)
        return answer({"done": True})

    peer.front.gate.servers["payments"].calls.append(slow)
    reply = peer.legacy("tools/call", PAY)
    await reply.message("notifications/message")
    await asyncio.sleep(0.08)  # from here on the gateway looks whether the client is still there
    reply.leave()
    await settle()
    return reply


async def test_a_stream_that_broke_off_goes_on_with_exactly_what_was_missed() -> None:
    peer, may_go_on = await asking_peer(), asyncio.Event()
    reply = await broken_off(peer, may_go_on, LOG, LOG)
    may_go_on.set()
    await reply.ended()
    assert (len(reply.messages), peer.front.delivered) == (1, [])
    again = await peer.get(reply.last_id).ended()
    assert [message.get("method", "answer") for message in again.messages] == [LOG[0], LOG[0], "answer"]
    assert len(peer.front.delivered) == 1
    rest = await peer.get(again.events[1]["id"]).ended()
    assert [message.get("method", "answer") for message in rest.messages] == ["answer"]
    assert len(peer.front.delivered) == 1


async def test_a_client_that_is_back_before_the_answer_gets_it_as_it_comes() -> None:
    peer, may_go_on = await asking_peer(), asyncio.Event()
    reply = await broken_off(peer, may_go_on, LOG)
    again = await peer.get(reply.events[0]["id"]).started()
    may_go_on.set()
    await again.ended()
    await reply.ended()
    assert [message.get("method", "answer") for message in again.messages] == [LOG[0], LOG[0], "answer"]
    kinds = await peer.front.gate.kinds()
    assert kinds.count(EventKind.CALL_CLAIMED) == 1


async def test_a_client_that_comes_back_may_leave_again() -> None:
    peer, may_go_on = await asking_peer(), asyncio.Event()
    reply = await broken_off(peer, may_go_on)
    again = await peer.get(reply.last_id).started()
    again.leave()
    await again.ended()
    may_go_on.set()
    await reply.ended()
    assert [message["id"] for message in (await peer.get(reply.last_id).ended()).messages] == [reply_id(peer)]


def reply_id(peer: Peer) -> int:
    return peer._count


async def test_nobody_else_can_read_a_session_s_events() -> None:
    peer, may_go_on = await asking_peer(), asyncio.Event()
    reply = await broken_off(peer, may_go_on, LOG)
    may_go_on.set()
    await reply.ended()
    stranger = Peer(peer.front, agent="other")
    await stranger.initialize()
    other_session = Peer(peer.front)
    await other_session.initialize()
    for thief in (stranger, other_session):
        stolen = await thief.get(reply.last_id).ended()
        [message] = stolen.messages
        assert message["error"]["code"] == -31410
    stranger.session = peer.session
    assert (await stranger.get(reply.last_id).ended()).status == 404


async def test_after_a_restart_whoever_waits_for_an_answer_is_told_that_it_is_not_here() -> None:
    peer, may_go_on = await asking_peer(), asyncio.Event()
    reply = await broken_off(peer, may_go_on)
    restarted = Peer(asking_front())
    restarted.front.sessions._store = peer.front.gate.store
    restarted.session = peer.session
    again = await restarted.get(reply.last_id).ended()
    [message] = again.messages
    assert (message["id"], message["error"]["code"]) == (reply_id(peer), -31410)
    may_go_on.set()
    await reply.ended()


@pytest.mark.parametrize("event_id", ["made-up", "1", "a-b.0"])
async def test_an_event_id_that_nobody_gave_out_is_refused(event_id: str) -> None:
    peer = await asking_peer()
    assert (await peer.get(event_id).ended()).status == 400


async def test_a_client_that_left_before_a_stream_began_is_not_asked() -> None:
    may_ask, asks = asyncio.Event(), Asks()

    async def late(call: Any) -> Any:
        await may_ask.wait()
        call.back.notify(*LOG)
        return await asks(call)

    peer = await asking_peer(late)
    reply = peer.legacy("tools/call", LIST)
    await asyncio.sleep(0.08)
    reply.leave()
    await settle()
    may_ask.set()
    await reply.ended()
    assert (reply.body, asks.told[0][0]) == (b"", -32001)


async def test_a_server_that_tells_after_its_answer_disturbs_nobody() -> None:
    backs: list[Any] = []

    async def leaves_a_back(call: Any) -> Any:
        backs.append(call.back)
        return answer({"done": True})

    peer = await asking_peer(leaves_a_back)
    reply = await peer.legacy("tools/call", LIST).ended()
    backs[0].notify(*LOG)
    await settle()
    assert (len(reply.messages), reply.headers["content-type"]) == (1, "application/json")


async def test_the_same_request_id_twice_at_once_is_refused() -> None:
    may_end = asyncio.Event()
    peer = await asking_peer(may_end)
    first = peer.legacy("tools/call", LIST, request_id="same")
    await settle()
    second = await peer.legacy("tools/call", LIST, request_id="same").ended()
    assert second.messages[0]["error"]["code"] == -32600
    may_end.set()
    assert "result" in (await first.ended()).messages[0]
    assert "result" in (await peer.legacy("tools/call", LIST, request_id="same").ended()).messages[0]


@pytest.mark.parametrize("accept", ["application/json", "text/html", ""])
async def test_a_stream_without_the_accept_for_it_is_refused(accept: str) -> None:
    peer = await asking_peer()
    assert (await peer.request("GET", accept=accept).ended()).status == 406


@pytest.mark.parametrize("accept", ["*/*", "application/json, Text/*;q=0.5", "Text/Event-Stream"])
async def test_whoever_reads_any_text_reads_streams(accept: str) -> None:
    peer = await asking_peer()
    reply = peer.request("GET", accept=accept)
    assert (await reply.started()).status == 200
    reply.leave()


async def test_policies_are_asked_for_each_question_anew() -> None:
    asks = Asks([("elicitation/create", ELICIT)], [("sampling/createMessage", {})])
    only_sampling = '@id("s") permit (principal, action == Gateway::Action::"sample", resource);'
    peer = await asking_peer(asks, policies=[only_sampling])
    reply = peer.legacy("tools/call", LIST)
    question = await reply.message("sampling/createMessage")
    await peer.reply(question["id"], {"role": "assistant"}).ended()
    await reply.ended()
    assert (asks.told[0][0], asks.told[1]) == (-31403, {"role": "assistant"})


async def test_a_client_that_answers_too_late_is_no_longer_waited_for() -> None:
    peer = await asking_peer()
    [session] = peer.front.sessions._live.values()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    back = LegacyBack(send, session, RpcRequest("tools/call", {}, 1, {}), streaming=True)
    back.ask_s = 0.001
    with pytest.raises(AskRefused) as refused:
        await back.ask("elicitation/create", ELICIT)
    assert (refused.value.code, session.asked) == (-32001, {})
    await back.answer(200, {"jsonrpc": "2.0", "id": 1, "result": {}})
    said = b"".join(message.get("body", b"") for message in sent).decode()
    asked, withdrawn = said.index("elicitation/create"), said.index("notifications/cancelled")
    assert asked < withdrawn


async def test_what_an_era_does_not_know_is_not_in_its_answers() -> None:
    meta = {"io.modelcontextprotocol/serverInfo": {"name": "x"}}
    first, second = answer(ttlMs=5, cacheScope="public", _meta=meta), answer(_meta={**meta, "own": 1})
    peer = await asking_peer(first, second)
    results = [(await peer.legacy("tools/call", LIST).ended()).messages[0]["result"] for _ in range(2)]
    assert [sorted(result) for result in results] == [["content"], ["_meta", "content"]]
    assert results[1]["_meta"] == {"own": 1}


async def test_a_caller_that_is_taken_away_while_its_prompt_is_looked_for_is_challenged() -> None:
    peer = await asking_peer()
    gate = peer.front.gate
    mail = gate.servers["mail"]
    mail.capabilities = {"prompts": {}}

    async def listed(method: str) -> Any:
        gate.authenticator.replace({})
        return [{"name": "greet"}]

    mail.listed = listed  # type: ignore[method-assign]  # the operator acts between the two checks
    reply = await peer.legacy("prompts/get", {"name": "mail_greet"}).ended()
    assert (reply.status, "www-authenticate" in reply.headers, mail.asked) == (401, True, [])
