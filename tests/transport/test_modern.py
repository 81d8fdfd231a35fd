"""2026-07-28: every request stands alone."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.catalog.catalog import Catalog
from gateway.model.errors import StoreFault
from gateway.model.identity import Identity
from gateway.model.request import Caller
from gateway.pipeline.listing import Listing
from gateway.pipeline.rules import Rules
from gateway.resilience.config import RateLimit
from gateway.store.ports import EventKind
from tests.fixtures.clock import FakeClock
from tests.pipeline.broken import BreakingStore
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer
from tests.transport.front import MODERN, Front, bearer

CALL = {"name": "payments_pay", "arguments": PAYMENT}


def refusal(response: Any) -> dict[str, Any]:
    found: dict[str, Any] = response.json()["result"]["_meta"]["io.toolgate/refusal"]
    return found


async def test_discovery_says_what_is_spoken_here() -> None:
    response = await Front().modern("server/discover")
    result = response.json()["result"]
    assert (response.status_code, result["supportedVersions"], result["capabilities"]) == (
        200,
        [MODERN],
        {"tools": {"listChanged": True}},
    )
    assert (result["resultType"], result["cacheScope"]) == ("complete", "private")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "toolgate"


async def test_the_list_is_what_the_agent_may_see_and_not_to_be_shared() -> None:
    result = (await Front().modern("tools/list")).json()["result"]
    assert {tool["name"] for tool in result["tools"]} >= {"payments_pay", "fraud_check", "run_start"}
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")


async def test_a_cursor_nobody_gave_out_is_refused() -> None:
    response = await Front().modern("tools/list", {"cursor": "2"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32602)


async def test_a_call_is_answered_with_the_tools_own_result_and_noted_as_delivered() -> None:
    front = Front()
    front.gate.servers["payments"].calls.append(answer({"receipt": 1}, _meta={"theirs": 1}, unknown="kept"))
    response = await front.modern("tools/call", CALL, request_id="abc")
    body = response.json()
    assert (body["jsonrpc"], body["id"]) == ("2.0", "abc")
    result = body["result"]
    assert (result["structuredContent"], result["unknown"], result["_meta"]["theirs"]) == ({"receipt": 1}, "kept", 1)
    [claimed] = [event for event in await front.gate.events() if event.kind is EventKind.CALL_CLAIMED]
    assert front.delivered == [claimed.call_id]


async def test_a_result_whose_meta_is_no_object_gets_one() -> None:
    front = Front()
    front.gate.servers["payments"].calls.append(answer(_meta="text"))
    result = (await front.modern("tools/call", CALL)).json()["result"]
    assert list(result["_meta"]) == ["io.modelcontextprotocol/serverInfo"]
    assert result["resultType"] == "complete"


async def test_a_result_of_a_kind_nobody_knows_is_withheld() -> None:
    front = Front()
    front.gate.servers["payments"].calls.append(answer(resultType="partial"))
    response = await front.modern("tools/call", CALL)
    assert refusal(response)["code"] == "contract_broken"


async def test_a_repeat_that_was_not_delivered_names_the_call_it_repeats() -> None:
    front = Front()
    paid = await front.gate.run("payments_pay")
    result = (await front.modern("tools/call", CALL)).json()["result"]
    assert result["_meta"]["io.toolgate/replayed-from"] == paid.call.id
    assert front.delivered == [paid.call.id]


async def test_an_identical_call_after_a_delivered_one_is_a_new_call() -> None:
    front = Front()
    for _ in range(2):
        await front.modern("tools/call", CALL)
    assert len(front.gate.servers["payments"].asked) == 2


async def test_a_read_has_no_claim_to_deliver() -> None:
    front = Front()
    assert (await front.modern("tools/call", {"name": "payments_list"})).status_code == 200
    assert front.delivered == []


async def test_a_refusal_is_a_result_the_model_can_read() -> None:
    response = await Front(Gate(PERMIT_ALL, PRECONDITION)).modern("tools/call", CALL)
    assert (response.status_code, response.json()["result"]["isError"]) == (200, True)
    assert refusal(response)["remedies"][0]["tool"] == "fraud_check"


async def test_an_agent_above_its_rate_is_told_in_a_result_and_is_on_record() -> None:
    front = Front(Gate(rate=RateLimit(calls=2, per_s=60)))
    assert [(await front.modern("tools/call", CALL)).json()["result"].get("isError") for _ in range(2)] == [None, None]
    response = await front.modern("tools/call", CALL)
    assert (response.status_code, refusal(response)["code"]) == (200, "rate_limited")
    assert len([event for event in await front.gate.events() if event.kind is EventKind.CALL_RECORDED]) == 1


async def test_a_list_that_may_not_be_had_now_is_an_error_with_its_code() -> None:
    front = Front()
    front.gate.admission.stop()
    response = await front.modern("tools/list")
    assert (response.status_code, response.json()["error"]["data"]) == (503, {"code": "shutting_down"})


@pytest.mark.parametrize("method", ["ping", "initialize", "resources/list", "tools/nonsense", ""])
async def test_a_method_that_is_not_there_is_not_found(method: str) -> None:
    response = await Front().modern(method)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["data"]) == (404, -32601, method)


@pytest.mark.parametrize(("name", "said"), [("clientCapabilities", []), ("clientInfo", "me"), ("clientInfo", None)])
async def test_an_envelope_that_says_something_else_than_an_object_is_refused(name: str, said: Any) -> None:
    response = await Front().modern("tools/list", {"_meta": {f"io.modelcontextprotocol/{name}": said}})
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32602)
    assert name in response.json()["error"]["message"]


async def test_a_notification_is_accepted_and_answered_with_nothing() -> None:
    response = await Front().modern("notifications/cancelled", request_id=None)
    assert (response.status_code, response.content) == (202, b"")


async def test_a_notification_of_a_version_nobody_speaks_is_refused() -> None:
    response = await Front().modern("notifications/x", request_id=None, mcp_protocol_version="2030-01-01")
    assert (response.status_code, response.json()["error"]["data"]) == (400, {"supported": [MODERN]})


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"mcp_method": "tools/list"}, -32020),
        ({"mcp_name": "payments_list"}, -32020),
        ({"mcp_protocol_version": "2030-01-01"}, -32020),
    ],
)
async def test_routing_headers_that_say_otherwise_than_the_body_are_refused(headers: dict[str, str], code: int) -> None:
    front = Front()
    response = await front.modern("tools/call", CALL, **headers)
    assert (response.status_code, response.json()["error"]["code"], response.json()["id"]) == (400, code, 1)
    assert front.gate.servers["payments"].asked == []


async def test_a_version_nobody_speaks_is_refused_with_those_there_are() -> None:
    wanted = {"io.modelcontextprotocol/protocolVersion": "2030-01-01"}
    response = await Front().modern("tools/list", {"_meta": wanted}, mcp_protocol_version="2030-01-01")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["data"]["supported"]) == (400, -32022, [MODERN])


MAIL = {"name": "mail_send", "arguments": {"to": "ada"}}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"mcp_param_to": "ada"}, 200),
        ({"mcp_param_to": "eve"}, 400),
        ({}, 400),
        ({"toolgate_transport": "stdio"}, 200),  # the bridge has no headers to mirror into
    ],
)
async def test_a_mirrored_argument_must_be_what_its_header_says(headers: dict[str, str], status: int) -> None:
    front = Front()
    response = await front.modern("tools/call", MAIL, **headers)
    assert (response.status_code, len(front.gate.servers["mail"].asked)) == (status, int(status == 200))
    if status == 400:
        assert response.json()["error"]["code"] == -32020


async def test_a_mirrored_argument_may_not_be_said_twice() -> None:
    front = Front()
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": _enveloped(MAIL)}
    headers = [
        ("authorization", bearer()),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "mail_send"),
        ("mcp-param-to", "eve"),
        ("mcp-param-to", "ada"),
    ]
    response = await front.send("POST", json=message, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)
    assert front.gate.servers["mail"].asked == []


async def test_a_mirrored_argument_of_another_shape_is_a_matter_of_the_params() -> None:
    response = await Front().modern("tools/call", {"name": "mail_send", "arguments": ["ada"]})
    assert response.json()["error"]["code"] == -32602


def _enveloped(params: dict[str, Any]) -> dict[str, Any]:
    envelope = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {**params, "_meta": envelope}


@pytest.mark.parametrize("name", ["nowhere", 7])
async def test_a_call_of_no_tool_is_refused_in_a_result_or_as_bad_params(name: Any) -> None:
    response = await Front().modern("tools/call", {"name": name, "arguments": {}})
    if name == 7:
        assert response.json()["error"]["code"] in {-32602, -32020}
    else:
        assert refusal(response)["code"] == "unknown_tool"


@pytest.mark.parametrize("missing", ["io.modelcontextprotocol/clientCapabilities", "_meta"])
async def test_a_request_without_its_envelope_is_refused(missing: str) -> None:
    params: dict[str, Any] = _enveloped({})
    if missing == "_meta":
        params.pop("_meta")
    else:
        params["_meta"].pop(missing)
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
    headers = {"authorization": bearer(), "mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
    response = await Front().send("POST", json=message, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("header", ["mcp-method", "mcp-name"])
async def test_a_routing_header_that_is_there_twice_is_refused(header: str) -> None:
    headers = [
        ("authorization", bearer()),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "payments_pay"),
        (header, "tools/list"),
    ]
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": _enveloped(dict(CALL))}
    front = Front()
    assert (await front.send("POST", json=message, headers=headers)).status_code == 400
    assert front.gate.servers["payments"].asked == []


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [(None, 'Bearer realm="toolgate"'), ("Bearer tgl.payer.00", 'error="invalid_token"')],
)
async def test_a_stranger_is_challenged_under_the_id_of_its_request(authorization: str | None, challenge: str) -> None:
    front = Front()
    named = {"authorization": authorization} if authorization else {"authorization": ""}
    response = await front.modern("tools/call", CALL, request_id="q7", **named)
    assert response.status_code == 401
    assert challenge in response.headers["www-authenticate"]
    assert response.json()["id"] == "q7"
    assert response.json()["error"]["data"] == {"code": "unauthenticated"}
    [event] = await front.gate.events()
    assert (event.agent, event.tool) == ("unknown", "payments_pay")


async def test_a_local_credential_from_another_machine_is_a_strangers() -> None:
    front = Front()
    headers = {"authorization": bearer(), "mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": _enveloped({})}
    response = await front.send("POST", json=message, headers=headers, peer="192.0.2.1")
    assert response.status_code == 401


class Reloaded(Listing):
    """Right after somebody was identified, the operator takes every agent away."""

    gate: Gate

    async def identify(self, caller: Caller, asked: str) -> Identity:
        identity = await super().identify(caller, asked)
        self.gate.authenticator.replace({})
        return identity


class Broken(Listing):
    """Has a bug."""

    def text(self, identity: Identity, endpoint: str = "") -> list[Mapping[str, Any]]:
        raise RuntimeError("secret thoughts")


def with_listing(gate: Gate, kind: type[Listing]) -> Front:
    gate.listing = kind(gate.authenticator, gate.admission, gate.rules, gate.runner.refuse, lambda *seen: None)
    if isinstance(gate.listing, Reloaded):
        gate.listing.gate = gate
    return Front(gate)


async def test_a_caller_that_was_taken_away_between_its_two_checks_is_challenged() -> None:
    front = with_listing(Gate(), Reloaded)
    response = await front.modern("tools/call", CALL)
    assert (response.status_code, "www-authenticate" in response.headers) == (401, True)
    assert front.gate.servers["payments"].asked == []


async def test_a_store_that_fails_is_an_error_with_its_code() -> None:
    store = BreakingStore(FakeClock())
    front = Front(Gate(store=store))
    store.breaks("claim", StoreFault("no", detail="disk full"))
    response = await front.modern("tools/call", CALL)
    assert refusal(response)["code"] == "store_unavailable"
    assert "disk full" not in response.text


async def test_a_bug_is_answered_without_its_details(caplog: pytest.LogCaptureFixture) -> None:
    response = await with_listing(Gate(), Broken).modern("tools/list")
    assert (response.status_code, response.json()["error"]["message"]) == (500, "Internal error.")
    assert ("secret" in response.text, "secret thoughts" in caplog.text) == (False, True)


async def test_a_step_that_is_missing_is_named_as_this_agent_would_call_it_even_if_it_is_gone() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    rules = gate.rules.current
    without = Catalog(tool for tool in rules.catalog.tools() if tool.server != "fraud")
    gate.rules.current = Rules(without, rules.bundle)
    assert refusal(await Front(gate).modern("tools/call", CALL))["remedies"][0]["tool"] == "fraud.check"
