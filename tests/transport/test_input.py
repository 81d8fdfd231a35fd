"""Clients of 2026-07-28 are asked with `input_required`, and go on by repeating their request."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import pytest

from gateway.model.back import AskRefused
from gateway.model.errors import ConnectorFault
from gateway.store.ports import EventKind
from gateway.transport.back import HttpBack
from gateway.transport.input import ModernBack
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer, settle
from tests.transport.asking import ELICIT, LIST, PAY, Asks, Tells, asking_front
from tests.transport.front import Front
from tests.transport.peer import Peer, Reply

ACCEPT = {"action": "accept", "content": {"ok": True}}
Result = dict[str, Any]


def modern_peer(*calls: Any, front: Front | None = None, **more: Any) -> Peer:
    peer = Peer(front or asking_front(*calls, **more))
    peer.capabilities = {"elicitation": {}, "sampling": {}}
    return peer


async def result_of(reply: Reply) -> Result:
    await reply.ended()
    assert "result" in reply.messages[-1], reply.body
    found: Result = reply.messages[-1]["result"]
    return found


async def error_of(reply: Reply) -> tuple[int, int]:
    await reply.ended()
    return reply.status, reply.messages[-1]["error"]["code"]


def repeat(call: dict[str, Any], asked: Result, *answers: Any) -> dict[str, Any]:
    """The request again, with answers to the questions in their order."""
    responses = dict(zip(asked["inputRequests"], answers, strict=False))
    return {**call, "requestState": asked["requestState"], "inputResponses": responses}


async def test_a_question_is_answered_with_input_required_and_the_call_goes_on_with_the_repeat() -> None:
    asks = Asks()
    peer = modern_peer(asks)
    asked = await result_of(peer.modern("tools/call", PAY))
    assert (asked["resultType"], peer.front.delivered) == ("input_required", [])
    [question] = asked["inputRequests"].values()
    assert question == {"method": "elicitation/create", "params": ELICIT}
    done = await result_of(peer.modern("tools/call", repeat(PAY, asked, ACCEPT)))
    assert (done["structuredContent"], done["resultType"]) == ({"told": [ACCEPT]}, "complete")
    assert len(peer.front.gate.servers["payments"].asked) == 1
    kinds = await peer.front.gate.kinds()
    assert (kinds.count(EventKind.CALL_CLAIMED), len(peer.front.delivered), len(peer.front.inputs)) == (1, 1, 0)


async def test_questions_that_come_together_are_asked_together_and_those_that_follow_in_another_round() -> None:
    asks = Asks(
        [("elicitation/create", ELICIT), ("sampling/createMessage", {"n": 1})], [("elicitation/create", ELICIT)]
    )
    peer = modern_peer(asks)
    first = await result_of(peer.modern("tools/call", LIST))
    assert len(first["inputRequests"]) == 2
    second = await result_of(peer.modern("tools/call", repeat(LIST, first, ACCEPT, {"role": "assistant"})))
    assert len(second["inputRequests"]) == 1
    done = await result_of(peer.modern("tools/call", repeat(LIST, second, {"action": "decline"})))
    assert done["structuredContent"]["told"] == [ACCEPT, {"role": "assistant"}, {"action": "decline"}]


@pytest.mark.parametrize("responses", [{}, {"other": ACCEPT}, {"ask": "text"}])
async def test_a_question_that_was_not_answered_is_asked_again(responses: dict[str, Any]) -> None:
    peer = modern_peer(Asks())
    asked = await result_of(peer.modern("tools/call", LIST))
    [key] = asked["inputRequests"]
    given = {key if name == "ask" else name: value for name, value in responses.items()}
    again = await result_of(
        peer.modern("tools/call", {**LIST, "requestState": asked["requestState"], "inputResponses": given})
    )
    assert list(again["inputRequests"]) == [key]
    assert again["requestState"] != asked["requestState"]
    done = await result_of(peer.modern("tools/call", repeat(LIST, again, ACCEPT)))
    assert done["structuredContent"] == {"told": [ACCEPT]}


async def test_answers_that_are_no_object_are_refused_and_the_call_still_waits() -> None:
    peer = modern_peer(Asks())
    asked = await result_of(peer.modern("tools/call", LIST))
    wrong = {**LIST, "requestState": asked["requestState"], "inputResponses": [ACCEPT]}
    assert await error_of(peer.modern("tools/call", wrong)) == (400, -32602)
    assert (await result_of(peer.modern("tools/call", repeat(LIST, asked, ACCEPT))))["resultType"] == "complete"


def other_spelling(state: str) -> str:
    """The same bytes in another text: bits nobody reads, or the other alphabet."""
    if state.endswith("="):
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        stem = state.rstrip("=")
        raw = base64.urlsafe_b64decode(state)
        for char in alphabet:
            changed = stem[:-1] + char + state[len(stem) :]
            if changed != state and base64.urlsafe_b64decode(changed) == raw:
                return changed
    return state.replace("-", "+").replace("_", "/")


@pytest.mark.parametrize(
    "respelled",
    [str, other_spelling, lambda state: state + "\n", lambda state: "*" + state],
)
async def test_a_state_opens_once_however_it_is_written(respelled: Callable[[str], str]) -> None:
    asked_for = [answer(resultType="input_required", requestState="s", inputRequests={}), answer(), answer()]
    peer = modern_peer(*asked_for)
    asked = await result_of(peer.modern("tools/call", LIST))
    await result_of(peer.modern("tools/call", repeat(LIST, asked)))
    replayed = {**LIST, "requestState": respelled(asked["requestState"])}
    assert await error_of(peer.modern("tools/call", replayed)) == (400, -32602)
    assert len(peer.front.gate.servers["payments"].asked) == 2


@pytest.mark.parametrize("state", ["", "x", "AAAA", "ä", 7, True, {}, [], "A" * 100_000])
async def test_a_state_nobody_gave_out_is_refused_on_record(state: Any) -> None:
    peer = modern_peer(Asks(), front=Front(Gate(), body_limit=1_000_000))
    assert await error_of(peer.modern("tools/call", {**LIST, "requestState": state})) == (400, -32602)
    assert peer.front.gate.servers["payments"].asked == []
    assert [event.agent for event in await peer.front.gate.events()] == ["payer"]


async def test_a_state_is_good_for_nothing_else_and_nobody_else() -> None:
    asks = Asks()
    peer, stranger = modern_peer(asks), Peer(asking_front())
    stranger.front, stranger.agent, stranger.capabilities = peer.front, "other", peer.capabilities
    asked = await result_of(peer.modern("tools/call", PAY))
    again = repeat(PAY, asked, ACCEPT)
    flipped = (
        asked["requestState"][:-6] + ("A" if asked["requestState"][-6] != "A" else "B") + asked["requestState"][-5:]
    )
    for thief, params in [
        (stranger, again),
        (peer, {**again, "arguments": {**PAYMENT, "amount": 251}}),
        (peer, {**again, "name": "payments_settle"}),
        (peer, {**again, "requestState": flipped}),
    ]:
        assert await error_of(thief.modern("tools/call", params)) == (400, -32602)
    assert asks.told == []
    assert (await result_of(peer.modern("tools/call", again)))["structuredContent"] == {"told": [ACCEPT]}


async def test_a_repeat_of_a_call_that_goes_on_already_is_refused() -> None:
    may_end = asyncio.Event()
    peer = modern_peer(Asks(), may_end)
    asked = await result_of(peer.modern("tools/call", LIST))
    again = repeat(LIST, asked, ACCEPT)
    one, two = peer.modern("tools/call", again), peer.modern("tools/call", again)
    outcomes = [(await each.ended()).status for each in (one, two)]
    assert sorted(outcomes) == [200, 400]


async def test_a_state_has_its_time() -> None:
    peer = modern_peer(Asks())
    asked = await result_of(peer.modern("tools/call", LIST))
    clock = peer.front.gate.clock
    clock.passed += 601
    assert await error_of(peer.modern("tools/call", repeat(LIST, asked, ACCEPT))) == (400, -32602)


async def test_after_a_restart_a_parked_call_is_gone_and_the_repeat_says_so() -> None:
    peer = modern_peer(Asks())
    asked = await result_of(peer.modern("tools/call", LIST))
    restarted = modern_peer(Asks())
    assert await error_of(restarted.modern("tools/call", repeat(LIST, asked, ACCEPT))) == (400, -32602)


async def test_a_client_that_never_comes_back_leaves_a_call_that_ends_on_record() -> None:
    asks = Asks()
    peer = modern_peer(asks)
    await result_of(peer.modern("tools/call", PAY))
    assert len(peer.front.inputs) == 1
    peer.front.inputs.stop()  # as its time would
    await settle()
    assert (asks.ended, len(peer.front.inputs)) == ("answered", 0)
    assert EventKind.CALL_FINISHED in await peer.front.gate.kinds()


class GivesUp:
    """A server's call that ends without waiting for an answer, once its client has been `told` what it asked."""

    def __init__(self, ending: Any) -> None:
        self.ending = ending
        self.told = asyncio.Event()

    async def __call__(self, call: Any) -> Any:
        question = asyncio.ensure_future(call.back.ask("elicitation/create", ELICIT))
        await self.told.wait()
        question.cancel()
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending


async def ended_while_parked(peer: Peer, call: dict[str, Any], server: GivesUp) -> Result:
    """Make a call whose server gives up before its question is answered; return that question."""
    asked = await result_of(peer.modern("tools/call", call))
    server.told.set()
    while len(peer.front.inputs):
        await asyncio.sleep(0.01)
    return asked


@pytest.mark.parametrize("call", [LIST, PAY], ids=["read", "effect"])
async def test_a_call_that_ended_before_its_question_was_answered_tells_how_once(call: dict[str, Any]) -> None:
    peer = modern_peer(server := GivesUp(answer({"done": 1})))
    again = repeat(call, await ended_while_parked(peer, call, server), ACCEPT)
    assert (await result_of(peer.modern("tools/call", again)))["structuredContent"] == {"done": 1}
    assert await error_of(peer.modern("tools/call", again)) == (400, -32602)
    assert len(peer.front.gate.servers["payments"].asked) == 1


async def test_a_call_that_failed_before_its_question_was_answered_says_so() -> None:
    peer = modern_peer(server := GivesUp(ConnectorFault("it gave up", code="rejected")))
    asked = await ended_while_parked(peer, LIST, server)
    result = await result_of(peer.modern("tools/call", repeat(LIST, asked, ACCEPT)))
    assert result["_meta"]["io.toolgate/refusal"]["code"] == "rejected"


async def test_of_calls_that_ended_while_they_were_parked_only_so_much_is_kept() -> None:
    large = answer({"text": "x" * 6_000_000})
    peer = modern_peer(*(servers := [GivesUp(large) for _ in range(3)]))
    calls = [{**LIST, "arguments": {"limit": number}} for number in range(3)]
    asked = [await ended_while_parked(peer, call, server) for call, server in zip(calls, servers, strict=True)]
    assert await error_of(peer.modern("tools/call", repeat(calls[0], asked[0], ACCEPT))) == (400, -32602)
    assert (await result_of(peer.modern("tools/call", repeat(calls[1], asked[1], ACCEPT))))["resultType"] == "complete"
    peer.front.inputs.stop()
    assert await error_of(peer.modern("tools/call", repeat(calls[2], asked[2], ACCEPT))) == (400, -32602)


async def test_a_question_that_is_withdrawn_at_once_is_never_asked() -> None:
    async def changes_its_mind(call: Any) -> Any:
        question = asyncio.ensure_future(call.back.ask("elicitation/create", ELICIT))
        await asyncio.sleep(0)  # it is asked; more turns than one may take as long as the questions are waited for
        question.cancel()
        await asyncio.sleep(0.02)
        return answer({"done": True})

    result = await result_of(modern_peer(changes_its_mind).modern("tools/call", LIST))
    assert result["structuredContent"] == {"done": True}


async def test_a_client_that_leaves_while_its_read_runs_ends_it() -> None:
    may_end = asyncio.Event()
    peer = modern_peer(may_end)
    reply = peer.modern("tools/call", LIST)
    reply.leave()
    await reply.ended()
    await settle()
    [event] = [each for each in await peer.front.gate.events() if each.tool == "payments.list"]
    assert ("cancelled" in event.body, reply.body) == (True, b"")


async def test_an_effect_goes_on_when_its_client_leaves_but_asks_nobody_any_more() -> None:
    may_ask, asks = asyncio.Event(), Asks()

    async def late(call: Any) -> Any:
        await may_ask.wait()
        call.back.notify("notifications/message", {"level": "error"})
        return await asks(call)

    peer = modern_peer(late)
    reply = peer.modern("tools/call", PAY, meta={"io.modelcontextprotocol/logLevel": "debug"})
    reply.leave()
    await reply.ended()
    may_ask.set()
    await settle()
    assert asks.told == [[-32001, "The client has gone"]]
    assert (EventKind.CALL_FINISHED in await peer.front.gate.kinds(), reply.body) == (True, b"")


async def test_progress_follows_the_client_to_its_latest_request() -> None:
    async def slow(call: Any) -> Any:
        call.back.notify("notifications/progress", {"progress": 1})
        await call.back.ask("elicitation/create", ELICIT)
        call.back.notify("notifications/progress", {"progress": 2})
        return answer({"done": True})

    peer = modern_peer(slow)
    first = await peer.modern("tools/call", LIST, meta={"progressToken": "a"}).ended()
    second = await peer.modern(
        "tools/call", repeat(LIST, first.messages[-1]["result"], ACCEPT), meta={"progressToken": "b"}
    ).ended()
    told = [reply.messages[0]["params"] for reply in (first, second)]
    assert told == [{"progress": 1, "progressToken": "a"}, {"progress": 2, "progressToken": "b"}]
    assert all("id" not in event for event in first.events)


async def test_too_many_parked_calls_of_one_principal_are_refused() -> None:
    peer = modern_peer(*(Asks() for _ in range(70)))
    calls = [{**LIST, "arguments": {"limit": number}} for number in range(65)]
    replies = [await peer.modern("tools/call", call).ended() for call in calls]
    assert [reply.status for reply in replies] == [200] * 64 + [429]
    assert len(peer.front.inputs) == 64
    peer.front.inputs.stop()
    await settle()


async def test_a_server_s_own_questions_pass_with_its_state_sealed_in_ours() -> None:
    questions = {"q": {"method": "elicitation/create", "params": ELICIT}}
    peer = modern_peer(
        {"resultType": "input_required", "inputRequests": questions, "requestState": "theirs"}, answer({"ok": 1})
    )
    asked = await result_of(peer.modern("tools/call", LIST))
    assert (asked["inputRequests"], "theirs" in asked["requestState"]) == (questions, False)
    done = await result_of(peer.modern("tools/call", repeat(LIST, asked, ACCEPT)))
    assert done["structuredContent"] == {"ok": 1}
    [_, second] = peer.front.gate.servers["payments"].asked
    assert second.more == {"requestState": "theirs", "inputResponses": {"q": ACCEPT}}
    [event] = [each for each in await peer.front.gate.events() if each.tool == "payments.elicitation/create"]
    assert "with the answer" in event.body


async def test_a_server_without_a_state_of_its_own_is_given_none_back() -> None:
    peer = modern_peer({"resultType": "input_required", "inputRequests": {}}, answer({"ok": 1}))
    peer.capabilities = {}
    asked = await result_of(peer.modern("tools/call", LIST))
    await result_of(peer.modern("tools/call", repeat(LIST, asked)))
    assert peer.front.gate.servers["payments"].asked[1].more == {"inputResponses": {}}


@pytest.mark.parametrize("policies", [[], None])
async def test_a_server_s_own_question_that_is_not_allowed_is_refused_on_record(policies: Any) -> None:
    method = "sampling/createMessage" if policies is None else "elicitation/create"
    questions = {"q": {"method": method, "params": {}}}
    calls = [{"resultType": "input_required", "inputRequests": questions}]
    peer = modern_peer(*calls, **({} if policies is None else {"policies": policies}))
    peer.capabilities = {"elicitation": {}}
    result = await result_of(peer.modern("tools/call", LIST))
    assert result["_meta"]["io.toolgate/refusal"]["code"] == "rejected"


@pytest.mark.parametrize(
    "questions", [{"q": 1}, {"q": {}}, {"q": {"method": 7}}, {str(n): {"method": "x"} for n in range(65)}, [1], "text"]
)
async def test_questions_out_of_shape_are_withheld(questions: Any) -> None:
    peer = modern_peer({"resultType": "input_required", "inputRequests": questions})
    result = await result_of(peer.modern("tools/call", LIST))
    assert result["_meta"]["io.toolgate/refusal"]["code"] == "contract_broken"


async def test_input_that_cannot_be_given_is_not_asked_for() -> None:
    calls = [{"resultType": "input_required", "inputRequests": {}, "requestState": "raw"}]
    peer = Peer(asking_front(*calls))
    await peer.initialize(elicitation={})
    result = await result_of(peer.legacy("tools/call", {**LIST, "requestState": "x", "inputResponses": {}}))
    assert result["_meta"]["io.toolgate/refusal"]["code"] == "contract_broken"
    assert peer.front.gate.servers["payments"].asked[0].more == {}


async def test_params_that_cannot_be_told_apart_exactly_are_refused() -> None:
    peer = modern_peer()
    params = '{"name": "payments_list", "arguments": {"n": "\\ud800"}, "_meta": %s}'
    meta = '{"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": %s}'
    body = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": %s}' % (params % (meta % '{"roots": {}}'))
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "payments_list"}
    reply = await peer.request("POST", body.encode(), **headers).ended()
    assert reply.status == 400


async def test_a_state_that_was_used_opens_nothing_after_a_restart_either() -> None:
    asked_for = [answer(resultType="input_required", requestState="s", inputRequests={}) for _ in range(2)]
    peer = modern_peer(*asked_for, answer({"ok": 1}))
    used, unused = [await result_of(peer.modern("tools/call", LIST)) for _ in range(2)]
    await result_of(peer.modern("tools/call", repeat(LIST, used)))
    gate = Gate(PERMIT_ALL, store=peer.front.gate.store, clock=peer.front.gate.clock)
    restarted = modern_peer(front=Front(gate))
    assert await error_of(restarted.modern("tools/call", repeat(LIST, used))) == (400, -32602)
    assert gate.servers["payments"].asked == []
    assert (await result_of(restarted.modern("tools/call", repeat(LIST, unused))))["resultType"] == "complete"


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {}}])
async def test_logs_are_told_only_to_whoever_asked_for_them(capabilities: dict[str, Any]) -> None:
    log = ("notifications/message", {"level": "info", "data": "x"})
    peer = modern_peer(Tells(log), Tells(log), Tells(log))
    peer.capabilities = capabilities
    silent = await peer.modern("tools/call", LIST).ended()
    assert silent.headers["content-type"] == "application/json"
    told = await peer.modern("tools/call", LIST, meta={"io.modelcontextprotocol/logLevel": "info"}).ended()
    assert told.messages[0]["params"] == log[1]
    above = await peer.modern("tools/call", LIST, meta={"io.modelcontextprotocol/logLevel": "error"}).ended()
    assert len(above.messages) == 1


async def test_calls_of_different_principals_or_abilities_share_no_server_session() -> None:
    peer = modern_peer(*(Tells() for _ in range(5)))
    stranger = modern_peer(front=peer.front)
    stranger.agent = "other"
    await peer.modern("tools/call", LIST).ended()
    await peer.modern("tools/call", LIST).ended()
    await stranger.modern("tools/call", LIST).ended()
    await peer.modern("tools/call", LIST, meta={"io.modelcontextprotocol/logLevel": "info"}).ended()
    peer.capabilities = {}
    await peer.modern("tools/call", LIST).ended()
    lanes = [call.back.lane for call in peer.front.gate.servers["payments"].asked]
    assert lanes[0] == lanes[1]
    assert len(set(lanes)) == 4
    assert lanes[4] == ""


async def test_a_client_that_comes_back_too_late_is_no_longer_waited_for() -> None:
    back = ModernBack(HttpBack(Peer.post, None, "", streaming=False), {})  # type: ignore[arg-type]  # says nothing
    back.ask_s = 0.001
    with pytest.raises(AskRefused) as refused:
        await back.ask("elicitation/create", ELICIT)
    assert (refused.value.code, back.questions, back.asked.done()) == (-32001, {}, False)


async def test_of_several_questions_those_without_an_answer_stay() -> None:
    asks = Asks([("elicitation/create", ELICIT), ("elicitation/create", {"message": "Sure?"})])
    peer = modern_peer(asks)
    first = await result_of(peer.modern("tools/call", LIST))
    second = await result_of(peer.modern("tools/call", repeat(LIST, first, ACCEPT)))
    assert list(second["inputRequests"]) == list(first["inputRequests"])[1:]
    done = await result_of(peer.modern("tools/call", repeat(LIST, second, {"action": "cancel"})))
    assert done["structuredContent"]["told"] == [ACCEPT, {"action": "cancel"}]


@pytest.mark.parametrize("call", [PAY, LIST])
async def test_the_very_call_made_anew_is_asked_the_same_and_is_carried_out_once(call: dict[str, Any]) -> None:
    asks = Asks()
    peer = modern_peer(asks)
    lost = await result_of(peer.modern("tools/call", call))
    anew = await result_of(peer.modern("tools/call", call))
    assert anew["inputRequests"] == lost["inputRequests"]
    done = await result_of(peer.modern("tools/call", repeat(call, anew, ACCEPT)))
    assert done["structuredContent"] == {"told": [ACCEPT]}
    assert len(peer.front.gate.servers["payments"].asked) == 1
    assert len(peer.front.inputs) == 0


async def test_another_call_is_no_repeat_of_one_that_waits() -> None:
    peer = modern_peer(Asks(), Asks())
    first = await result_of(peer.modern("tools/call", PAY))
    other = {**PAY, "arguments": {**PAYMENT, "payment_id": "p_18"}}
    second = await result_of(peer.modern("tools/call", other))
    assert first["inputRequests"].keys() != second["inputRequests"].keys()
