"""What a host sees of the bridge while the gateway is up."""

import codecs
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.conftest import LONGEST_LINE, Bridge
from tests.bridge.fake_gateway import MODERN, FakeGateway

META = {"_meta": {MODERN: "2026-07-28"}}


def test_a_request_is_answered_by_the_gateway_with_its_own_id(bridge: Bridge) -> None:
    bridge.call("abc", "echo")
    answer = bridge.hear()
    assert (answer["id"], answer["result"]["echo"]["name"]) == ("abc", "echo")


def test_what_the_host_wrote_reaches_the_gateway_unchanged(bridge: Bridge, gateway: FakeGateway) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "echo", "x": [1e300, "é\u2028", None]},
    }
    bridge.say(message)
    assert bridge.hear()["result"]["echo"] == message["params"]
    assert gateway.received[0][2] == message


def test_a_byte_order_mark_before_a_message_is_no_part_of_it(bridge: Bridge, gateway: FakeGateway) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
    line = json.dumps(message).encode()
    bridge.say(codecs.BOM_UTF8 + line + b"\r\n")
    assert bridge.hear()["id"] == 1
    _, headers, heard = gateway.received[0]
    assert (heard, headers["Content-Length"]) == (message, str(len(line)))


def test_each_request_carries_the_local_bearer_and_says_that_it_came_over_stdio(
    bridge: Bridge, gateway: FakeGateway
) -> None:
    bridge.call(1, "echo")
    bridge.hear()
    headers = gateway.received[0][1]
    assert headers["Authorization"] == f"Bearer {gateway.bearer}"
    assert headers["Toolgate-Transport"] == "stdio"
    assert headers["Accept"] == "application/json, text/event-stream"


def test_a_session_client_sends_the_agreed_version_and_its_session(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    bridge.ask(1, "tools/list")
    bridge.hear()
    opening, listing = gateway.heard_of("initialize")[0][0], gateway.heard_of("tools/list")[0][0]
    assert "MCP-Protocol-Version" not in opening
    assert "Mcp-Session-Id" not in opening
    assert listing["MCP-Protocol-Version"] == "2025-11-25"
    assert listing["Mcp-Session-Id"] in gateway.sessions
    assert "Mcp-Method" not in listing


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "pay"}, "pay"),
        ("tools/call", {"name": "zahlé"}, "=?base64?emFobMOp?="),
        ("tools/call", {"name": " edge "}, "=?base64?IGVkZ2Ug?="),
        ("tools/call", {"name": "=?base64?eA==?="}, "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ("resources/read", {"uri": "file:///a b"}, "file:///a b"),
        ("prompts/get", {"name": "p"}, "p"),
        ("tools/list", {}, None),
    ],
)
def test_a_stateless_request_names_itself_in_its_headers(
    bridge: Bridge, gateway: FakeGateway, method: str, params: dict[str, Any], name: str | None
) -> None:
    bridge.ask(1, method, params | META)
    bridge.hear()
    headers = gateway.received[0][1]
    assert (headers["MCP-Protocol-Version"], headers["Mcp-Method"], headers.get("Mcp-Name")) == (
        "2026-07-28",
        method,
        name,
    )


@pytest.mark.parametrize("letter", ["x", "\U0001f4b0"])
def test_a_name_that_no_head_of_a_request_could_carry_is_refused_for_good_and_a_shorter_one_is_sent(
    bridge: Bridge, gateway: FakeGateway, letter: str
) -> None:
    bridge.call(1, letter * 10_001, **META)
    assert bridge.hear()["result"]["structuredContent"] == {"code": "too_large", "retryable": False}
    assert gateway.received == []
    bridge.call(2, letter * 10_000, **META)
    assert bridge.hear()["result"]["echo"]["name"] == letter * 10_000
    bridge.call(3, letter * 10_001)
    assert bridge.hear()["result"]["echo"]["name"] == letter * 10_001


def test_a_streamed_answer_arrives_message_by_message_on_one_line_each(bridge: Bridge) -> None:
    bridge.call(1, "flow")
    assert bridge.hear()["method"] == "notifications/progress"
    assert bridge.hear()["id"] == 1


def test_an_event_without_a_message_is_passed_over_in_silence(
    bridge: Bridge, capsys: pytest.CaptureFixture[str]
) -> None:
    bridge.call(1, "primed")
    assert bridge.hear()["id"] == 1
    assert capsys.readouterr().err == ""


def test_a_pretty_printed_answer_is_put_on_one_line(bridge: Bridge) -> None:
    bridge.call(1, "pretty")
    assert bridge.hear()["id"] == 1


def test_two_requests_are_under_way_at_once(bridge: Bridge) -> None:
    bridge.call(1, "meet")
    bridge.call(2, "meet")
    assert {bridge.hear()["id"], bridge.hear()["id"]} == {1, 2}


def test_connections_are_reused(bridge: Bridge, gateway: FakeGateway) -> None:
    for number in range(5):
        bridge.call(number, "echo")
        bridge.hear()
    assert len(gateway.received) == 5
    assert gateway.opened == 2  # one of them holds the lease


def test_more_requests_than_the_limit_are_refused_and_say_so(make_bridge: Any, gateway: FakeGateway) -> None:
    bridge = make_bridge(limit=1)
    bridge.call(1, "hang")
    gateway.wait_until(lambda g: len(g.received) == 1)
    bridge.call(2, "echo")
    bridge.ask(3, "tools/list")
    assert bridge.hear()["result"]["_meta"]["io.toolgate/refusal"]["code"] == "rate_limited"
    assert bridge.hear()["error"]["data"]["code"] == "rate_limited"
    gateway.stopping.set()
    assert bridge.hear()["result"]["isError"] is True


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{\n", -32700),
        (b"\xff\xfe\n", -32700),
        (b"[" * 4000 + b"\n", -32700),
        (b'[{"jsonrpc":"2.0"}]\n', -32600),
        (b'{"id":true,"method":"x"}\n', -32600),
        (b'{"id":{},"method":"x"}\n', -32600),
        (b'{"id":1,"method":5}\n', -32600),
        pytest.param(b'"' + b"x" * LONGEST_LINE + b'"\n', -32600, id="too long"),
    ],
)
def test_a_line_that_is_no_message_is_answered_with_an_error_and_the_next_is_served(
    bridge: Bridge, line: bytes, code: int
) -> None:
    bridge.say(line)
    bridge.say(b"\n")
    assert bridge.hear()["error"]["code"] == code
    bridge.call(1, "echo")
    assert bridge.hear()["id"] == 1


def test_a_refusal_without_an_id_is_given_the_id_of_its_request(bridge: Bridge) -> None:
    bridge.call(7, "refused")
    assert bridge.hear() == {"jsonrpc": "2.0", "id": 7, "error": {"code": -32003, "message": "origin"}}


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        ("500", "unavailable", True),
        ("429", "unavailable", True),
        ("413", "too_large", False),
        ("431", "too_large", False),
        ("404", "rejected", False),
        ("oops", "unavailable", True),
    ],
)
def test_an_answer_that_is_not_json_rpc_becomes_one_the_model_can_read(
    bridge: Bridge, status: str, code: str, retryable: bool
) -> None:
    bridge.call(7, status, **META)
    result = bridge.hear()["result"]
    assert result["isError"] is True
    assert result["resultType"] == "complete"
    assert status.replace("oops", "500") in result["content"][0]["text"]
    assert result["structuredContent"] == {"code": code, "retryable": retryable}


def test_the_answer_of_the_host_to_a_request_of_the_gateway_is_delivered(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.say({"jsonrpc": "2.0", "id": "elicit-1", "result": {"action": "accept"}})
    gateway.wait_until(lambda g: len(g.received) == 1)
    assert gateway.received[0][2]["result"] == {"action": "accept"}


def test_what_the_gateway_says_unasked_reaches_a_session_client(bridge: Bridge, gateway: FakeGateway) -> None:
    gateway.offers_stream = True
    gateway.says_unasked = [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}]
    bridge.open()
    assert bridge.hear()["method"] == "notifications/tools/list_changed"
    gateway.says_unasked = []


def test_a_gateway_without_an_unasked_stream_is_asked_for_it_once(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    gateway.wait_until(lambda g: any(verb == "GET" for verb, _, _ in g.received))
    for number in range(3):
        bridge.call(number, "echo")
        bridge.hear()
    assert [verb for verb, _, _ in gateway.received].count("GET") == 1


def test_a_cancelled_stateless_request_is_hung_up_on_and_not_answered(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.call(1, "hang", **META)
    gateway.wait_until(lambda g: len(g.received) == 1)
    bridge.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    gateway.wait_until(lambda g: g.heard_of("notifications/cancelled"))
    assert bridge.leave() == b""


@pytest.mark.parametrize("starts", [True, False])
def test_a_request_cancelled_before_it_could_be_sent_is_not_answered(
    make_bridge: Callable[..., Bridge], starter: tuple[str, ...], tmp_path: Path, *, starts: bool
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "gate.first").touch()
    then = f"exec {shlex.join(starter)}" if starts else "exit 1"
    bridge = make_bridge(command=("sh", "-c", f"rm {gate}.first && cat {gate}; {then}"))
    bridge.call(1, "echo", **META)
    with gate.open("w"):  # the gateway is starting, and gets no further
        bridge.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    assert bridge.leave() == b""


def test_a_stream_that_breaks_is_listened_to_again(bridge: Bridge, gateway: FakeGateway) -> None:
    gateway.offers_stream, gateway.resets_streams = True, 1
    gateway.says_unasked = [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}]
    bridge.open()
    assert bridge.hear()["method"] == "notifications/tools/list_changed"


def test_a_cancelled_session_request_is_left_to_the_gateway(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    bridge.call(1, "hang")
    gateway.wait_until(lambda g: g.heard_of("tools/call"))
    bridge.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    gateway.wait_until(lambda g: g.heard_of("notifications/cancelled"))
    gateway.stopping.set()
    assert bridge.leave() == b""


def test_that_a_session_request_was_called_off_is_no_answer(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    bridge.call(1, "called_off")
    gateway.wait_until(lambda g: g.heard_of("tools/call"))
    bridge.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    bridge.call(2, "echo")
    assert bridge.hear()["id"] == 2
    assert bridge.leave() == b""


def test_cancelling_what_is_not_under_way_is_ignored(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}})
    bridge.call(1, "echo")
    bridge.hear()
    assert gateway.heard_of("notifications/cancelled") == []


def test_a_goodbye_that_nobody_hears_is_no_trouble(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    gateway.wait_until(lambda g: g.heard_of("notifications/initialized"))
    gateway.treats_notifications = "drop"
    assert bridge.leave() == b""


def test_an_unfinished_line_longer_than_the_limit_is_refused_at_the_end(bridge: Bridge) -> None:
    bridge.say(b"x" * LONGEST_LINE)
    assert json.loads(bridge.leave())["error"]["code"] == -32600


def test_what_is_under_way_finishes_after_the_host_closes_its_end(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    bridge.call(1, "meet")
    gateway.wait_until(lambda g: g.heard_of("tools/call"))
    gateway.parallel.wait(10)
    assert json.loads(bridge.leave())["id"] == 1
    gateway.wait_until(lambda g: g.leases == 0)
    assert "DELETE" in [verb for verb, _, _ in gateway.received]
