"""The eras with a handshake: 2024-11-05 to 2025-11-25."""

from typing import Any

import pytest

from tests.pipeline.gate import PAYMENT, Gate, answer
from tests.transport.front import LEGACY, Front, bearer
from tests.transport.peer import Peer

CALL = {"name": "payments_pay", "arguments": PAYMENT}
VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_handshake_version_is_agreed_to_as_it_is(version: str) -> None:
    front = Front()
    response = await front.legacy("initialize", {"protocolVersion": version, "clientInfo": {"name": "c"}})
    result = response.json()["result"]
    assert (result["protocolVersion"], result["serverInfo"]["name"]) == (version, "toolgate")
    session = response.headers["mcp-session-id"]
    listed = await front.legacy("tools/list", mcp_session_id=session, mcp_protocol_version=version)
    assert listed.json()["result"]["tools"]
    assert "resultType" not in listed.json()["result"]


@pytest.mark.parametrize("wanted", ["2030-01-01", "", "1", "2026-07-28"])
async def test_an_unknown_version_is_answered_with_the_latest_of_the_handshake(wanted: str) -> None:
    response = await Front().legacy("initialize", {"protocolVersion": wanted})
    assert response.json()["result"]["protocolVersion"] == LEGACY


@pytest.mark.parametrize("params", [None, {}, {"protocolVersion": 7}])
async def test_a_handshake_without_a_version_is_refused(params: Any) -> None:
    response = await Front().legacy("initialize", params)
    assert (response.status_code, response.json()["error"]["code"]) == (200, -32602)
    assert "mcp-session-id" not in response.headers


async def test_a_session_pings_calls_and_is_ended() -> None:
    front = Front()
    session = await front.initialize()
    assert (await front.legacy("ping", mcp_session_id=session)).json()["result"] == {}
    front.gate.servers["payments"].calls.append(answer({"receipt": 1}, resultType="complete"))
    called = (await front.legacy("tools/call", CALL, mcp_session_id=session)).json()["result"]
    assert (called["structuredContent"], "resultType" in called) == ({"receipt": 1}, False)
    assert len(front.delivered) == 1
    ended = await front.send("DELETE", headers={"authorization": bearer(), "mcp-session-id": session})
    assert (ended.status_code, ended.content) == (204, b"")
    assert (await front.legacy("ping", mcp_session_id=session)).status_code == 404


async def test_calls_of_one_session_belong_to_one_run() -> None:
    front = Front()
    one, two = await front.initialize(), await front.initialize()
    for session in (one, one, two):
        await front.legacy("tools/call", {"name": "payments_list"}, mcp_session_id=session)
    runs = [event.run_id for event in await front.gate.events() if event.tool]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/cancelled", "initialize"])
async def test_a_notification_is_accepted(method: str) -> None:
    front = Front()
    session = await front.initialize()
    response = await front.legacy(method, request_id=None, mcp_session_id=session)
    assert (response.status_code, response.content) == (202, b"")


async def test_a_method_that_is_not_there_is_an_error_in_the_body_only() -> None:
    front = Front()
    session = await front.initialize()
    response = await front.legacy("resources/list", mcp_session_id=session)
    assert (response.status_code, response.json()["error"]["code"]) == (200, -32601)
    assert response.json()["error"]["data"] == "resources/list"


async def test_a_cursor_nobody_gave_out_is_refused() -> None:
    front = Front()
    session = await front.initialize()
    response = await front.legacy("tools/list", {"cursor": "2"}, mcp_session_id=session)
    assert (response.status_code, response.json()["error"]["code"]) == (200, -32602)


async def test_a_call_without_a_session_is_told_to_initialize() -> None:
    response = await Front().legacy("tools/call", CALL)
    assert (response.status_code, "initialize" in response.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_session_that_is_not_there_is_not_found(method: str) -> None:
    front = Front()
    headers = {"authorization": bearer(), "mcp-session-id": "made.up.id"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"} if method == "POST" else None
    assert (await front.send(method, json=body, headers=headers)).status_code == 404


async def test_a_session_of_another_agent_is_not_found() -> None:
    front = Front()
    session = await front.initialize()
    response = await front.legacy("ping", authorization=bearer("other"), mcp_session_id=session)
    assert response.status_code == 404


@pytest.mark.parametrize("method", ["initialize", "tools/call", "ping"])
async def test_a_stranger_is_challenged_before_anything_else(method: str) -> None:
    front = Front()
    response = await front.legacy(method, {"protocolVersion": LEGACY}, request_id=9, authorization="Bearer x")
    assert (response.status_code, response.json()["id"]) == (401, 9)
    assert "www-authenticate" in response.headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "HEAD"])
async def test_no_other_method_is_served(method: str) -> None:
    response = await Front().send(method)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST, DELETE")


async def test_a_body_that_is_too_large_is_refused_on_record() -> None:
    front = Front(body_limit=100)
    response = await front.legacy("tools/call", {"name": "x" * 200})
    assert response.status_code == 413
    [event] = await front.gate.events()
    assert (event.agent, "too_large" in event.body) == ("payer", True)


async def test_what_is_no_message_is_refused_without_an_id() -> None:
    headers = {"authorization": bearer(), "content-type": "application/json"}
    response = await Front().send("POST", content=b"{nonsense", headers=headers)
    assert (response.status_code, response.json()["id"], response.json()["error"]["code"]) == (400, None, -32700)


async def test_a_form_is_refused_before_anybody_is_identified() -> None:
    front = Front()
    response = await front.send("POST", content=b"a=b", headers={"content-type": "text/plain"})
    assert (response.status_code, await front.gate.events()) == (415, [])


async def test_a_paused_agent_reads_why_in_the_result_of_its_call() -> None:
    gate = Gate()
    await gate.pause("agent:payer", "audit")
    front = Front(gate)
    session = await front.initialize()
    result = (await front.legacy("tools/call", CALL, mcp_session_id=session)).json()["result"]
    assert (result["isError"], result["_meta"]["io.toolgate/refusal"]["code"]) == (True, "paused")
    assert "audit" in result["content"][0]["text"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"name": 7},
        {"name": "payments_pay", "arguments": [1]},
        {"name": "payments_pay", "arguments": PAYMENT, "_meta": "text"},
        {"name": "payments_pay", "arguments": PAYMENT, "_meta": {"io.toolgate/run": ""}},
        {"name": "payments_pay", "arguments": PAYMENT, "_meta": {"io.toolgate/run": 7}},
        {"name": "payments_pay", "arguments": PAYMENT, "_meta": {"io.toolgate/idempotency-key": "with space"}},
        {"name": "payments_pay", "arguments": PAYMENT, "_meta": {"io.toolgate/idempotency-key": "line\n"}},
        {"name": "payments_pay", "arguments": PAYMENT, "_meta": {"io.toolgate/idempotency-key": "k" * 201}},
    ],
)
async def test_params_that_are_no_call_are_refused_on_record_and_sent_to_nobody(params: Any) -> None:
    front = Front()
    session = await front.initialize()
    response = await front.legacy("tools/call", params, mcp_session_id=session)
    assert (response.status_code, response.json()["error"]["code"]) == (200, -32602)
    assert [event.agent for event in await front.gate.events()] == ["payer"]
    assert front.gate.servers["payments"].asked == []


async def test_missing_arguments_are_none_at_all() -> None:
    front = Front()
    session = await front.initialize()
    for params in ({"name": "payments_list"}, {"name": "payments_list", "arguments": None, "_meta": None}):
        response = await front.legacy("tools/call", params, mcp_session_id=session)
        assert "isError" not in response.json()["result"]
    assert [asked.arguments for asked in front.gate.servers["payments"].asked] == [{}, {}]


@pytest.mark.parametrize(
    ("meta", "header", "key"),
    [("k1", None, "key:k1"), (None, "k1", "key:k1"), ("k1", "k1", "key:k1"), ("k1", "k2", None)],
)
async def test_a_key_may_stand_in_the_message_or_in_its_header_but_not_two_of_them(
    meta: str | None, header: str | None, key: str | None
) -> None:
    front = Front()
    session = await front.initialize()
    params = {**CALL, "_meta": {"io.toolgate/idempotency-key": meta} if meta else {}}
    named = {"idempotency_key": header} if header else {}
    response = await front.legacy("tools/call", params, mcp_session_id=session, **named)
    if key is None:
        assert "disagree" in response.json()["error"]["message"]
        assert front.gate.servers["payments"].asked == []
    else:
        assert await front.gate.store.recorded("payer", "payments.pay", key) is not None


async def test_a_run_may_be_named_in_a_header() -> None:
    front = Front()
    session = await front.initialize()
    for run in ("august", "august", "september"):
        await front.legacy("tools/call", {"name": "payments_list"}, mcp_session_id=session, toolgate_run=run)
    runs = [event.run_id for event in await front.gate.events() if event.tool]
    assert runs[0] == runs[1] != runs[2]


async def test_what_no_server_has_at_all_is_answered_as_such_a_server_would() -> None:
    ref = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}}
    named = {"prompts/get": {"name": "p"}, "resources/read": {"uri": "u://u"}, "completion/complete": ref}
    peer = Peer(Front())
    await peer.initialize()
    for method, params in named.items():
        for reply in (peer.modern(method, params), peer.legacy(method, params)):
            await reply.ended()
            assert reply.messages[0]["error"] == {"code": -32601, "message": "Method not found", "data": method}
    assert len([event for event in await peer.front.gate.events() if event.tool in named]) == 2 * len(named)
