"""Large catalogs and large answers over HTTP, in both eras."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from gateway.catalog.cut import CUT
from gateway.pipeline.rules import Limits
from gateway.store.ports import EventKind
from tests.pipeline.gate import MIRRORED, PAYMENT, PERMIT_ALL, PRECONDITION, RUN_TOOLS, Gate, answer
from tests.transport.asking import ELICIT, Asks, asking_front
from tests.transport.front import Front, bearer
from tests.transport.peer import Peer

PAY = {"name": "payments_pay", "arguments": PAYMENT}
Rpc = Callable[..., Awaitable[dict[str, Any]]]


def limited(*policies: str, tools: int = 3, results: dict[str, int] | None = None) -> Front:
    gate = Gate(*policies)
    gate.rules.current = replace(gate.rules.current, limits=Limits(tools, results or {}))
    return Front(gate)


@pytest.fixture(params=["modern", "legacy"])
def speaking(request: pytest.FixtureRequest) -> Callable[[Front], Rpc]:
    """Return how one era speaks: method and params in, the result object out."""

    def over(front: Front) -> Rpc:
        sessions: dict[str, str] = {}

        async def rpc(method: str, params: Any = None, agent: str = "payer", **headers: str) -> dict[str, Any]:
            who = {"authorization": bearer(agent), **headers}
            if request.param == "legacy":
                if agent not in sessions:
                    sessions[agent] = await front.initialize(authorization=bearer(agent))
                reply = await front.legacy(method, params, mcp_session_id=sessions[agent], **who)
            else:
                reply = await front.modern(method, params, **who)
            body = reply.json()
            assert "result" in body, body
            found: dict[str, Any] = body["result"]
            return found

        return rpc

    return over


async def test_the_way_from_a_search_to_a_call(speaking: Callable[[Front], Rpc]) -> None:
    front = limited(PERMIT_ALL, PRECONDITION)
    rpc = speaking(front)
    listed = {tool["name"]: tool for tool in (await rpc("tools/list"))["tools"]}
    assert list(listed) == [*RUN_TOOLS, "tools_call", "tools_describe", "tools_search"]
    asked = {"name": "tools_search", "arguments": {"query": "pay a payment"}}
    found = (await rpc("tools/call", asked))["structuredContent"]
    jsonschema.validate(found, listed["tools_search"]["outputSchema"])
    [name] = [each["name"] for each in found["tools"]][:1]
    asked = {"name": "tools_describe", "arguments": {"names": [name]}}
    described = (await rpc("tools/call", asked))["structuredContent"]
    jsonschema.validate(described, listed["tools_describe"]["outputSchema"])
    assert described["tools"][0]["name"] == "payments_pay"
    refused = await rpc("tools/call", {"name": "tools_call", "arguments": PAY})
    step = refused["_meta"]["io.toolgate/refusal"]["remedies"][0]
    assert step == {"tool": "tools_call", "arguments": {"name": "fraud_check", "arguments": PAYMENT}}
    assert 'Call this first: tools_call {"name":"fraud_check","arguments":{' in refused["content"][0]["text"]
    front.gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await rpc("tools/call", {"name": step["tool"], "arguments": step["arguments"]})
    front.gate.servers["payments"].calls.append(answer({"receipt": 1}, _meta={"theirs": 1}, unknown="kept"))
    paid = await rpc("tools/call", {"name": "tools_call", "arguments": PAY})
    assert (paid["structuredContent"], paid["unknown"], paid["_meta"]["theirs"]) == ({"receipt": 1}, "kept", 1)
    claims = [event for event in await front.gate.events() if event.kind is EventKind.CALL_CLAIMED]
    assert [event.tool for event in claims] == ["fraud.check", "payments.pay"]
    assert front.delivered == [event.call_id for event in claims]


async def test_the_real_tool_is_callable_by_its_name_and_its_remedy_is_too(speaking: Callable[[Front], Rpc]) -> None:
    rpc = speaking(limited(PERMIT_ALL, PRECONDITION))
    refused = await rpc("tools/call", PAY)
    assert refused["_meta"]["io.toolgate/refusal"]["remedies"] == [{"tool": "fraud_check", "arguments": PAYMENT}]


@pytest.mark.parametrize("how", ["meta", "header"])
async def test_keys_named_with_tools_call_are_those_of_the_call(how: str, speaking: Callable[[Front], Rpc]) -> None:
    front = limited()
    rpc = speaking(front)
    meta = {"_meta": {"io.toolgate/idempotency-key": "k1"}} if how == "meta" else {}
    headers = {"idempotency_key": "k1"} if how == "header" else {}
    front.gate.servers["payments"].calls += [answer({"receipt": 1}), answer({"receipt": 2})]
    answers = [
        await rpc("tools/call", {**asked, **meta}, **headers)
        for asked in ({"name": "tools_call", "arguments": PAY}, PAY, {"name": "tools_call", "arguments": PAY})
    ]
    assert [each["structuredContent"] for each in answers] == [{"receipt": 1}] * 3
    assert len(front.gate.servers["payments"].asked) == 1


async def test_a_mirrored_argument_needs_no_header_through_tools_call() -> None:
    front = limited()
    assert "x-mcp-header" in MIRRORED
    asked = {"name": "tools_call", "arguments": {"name": "mail_send", "arguments": {"to": "a"}}}
    assert "error" not in (await front.modern("tools/call", asked)).json()


async def test_an_answer_that_is_cut_is_valid_for_whoever_holds_it_against_the_list(
    speaking: Callable[[Front], Rpc],
) -> None:
    front = limited(tools=100, results={"fraud.check": 2000})
    rpc = speaking(front)
    listed = {tool["name"]: tool for tool in (await rpc("tools/list"))["tools"]}
    whole = {"result": "passed" + "!" * 5000}
    front.gate.servers["fraud"].calls += [answer(whole), answer({"result": "passed"})]
    cut = await rpc("tools/call", {"name": "fraud_check", "arguments": PAYMENT})
    jsonschema.validate(cut["structuredContent"], listed["fraud_check"]["outputSchema"])
    note = cut["structuredContent"][CUT]
    assert note == cut["_meta"][CUT]
    pieces, offset = [], 0
    while offset is not None:
        asked = {"name": note["tool"], "arguments": {"handle": note["handle"], "offset": offset}}
        piece = (await rpc("tools/call", asked))["structuredContent"]
        jsonschema.validate(piece, listed["results_read"]["outputSchema"])
        pieces.append(piece["text"])
        offset = piece["next"]
    assert "".join(pieces) == 'done\n\n{"result":"passed' + "!" * 5000 + '"}'
    fits = await rpc("tools/call", {"name": "fraud_check", "arguments": {**PAYMENT, "amount": 1}})
    jsonschema.validate(fits["structuredContent"], listed["fraud_check"]["outputSchema"])
    theirs = await rpc("tools/call", {"name": "results_read", "arguments": {"handle": note["handle"]}}, "other")
    assert theirs["isError"] is True


@pytest.mark.parametrize("server", ["asks while the call is under way", "answers with input_required"])
async def test_a_question_of_a_tool_called_through_tools_call_is_asked_and_the_repeat_goes_on(server: str) -> None:
    accept = {"action": "accept", "content": {"ok": True}}
    questions = {"q": {"method": "elicitation/create", "params": ELICIT}}
    theirs = {"resultType": "input_required", "inputRequests": questions, "requestState": "theirs"}
    steps = [Asks()] if "under way" in server else [theirs, answer({"told": [accept]})]
    peer = Peer(asking_front(*steps))
    peer.capabilities = {"elicitation": {}}
    pay = {"name": "tools_call", "arguments": PAY}
    asked = (await peer.modern("tools/call", pay).ended()).messages[-1]["result"]
    assert asked["resultType"] == "input_required"
    responses = dict.fromkeys(asked["inputRequests"], accept)
    repeat = {**pay, "requestState": asked["requestState"], "inputResponses": responses}
    done = (await peer.modern("tools/call", repeat).ended()).messages[-1]["result"]
    assert done["structuredContent"] == {"told": [accept]}
    kinds = [event.tool for event in await peer.front.gate.events() if event.kind is EventKind.CALL_CLAIMED]
    assert set(kinds) == {"payments.pay"}
