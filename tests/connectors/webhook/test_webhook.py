"""Webhooks out: signed as Standard Webhooks has it, to declared places only, once."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.webhook import WebhookConnector
from connectors.webhook.signing import signature
from gateway.connector import (
    ConnectorFault,
    CredentialExpired,
    Effect,
    Measure,
    Rejected,
    Secret,
    Surroundings,
    TimedOut,
    ToolCall,
    Unavailable,
    Upstream,
)
from gateway.connector.testing import check_connector
from tests.connectors.rest.api import Api, answer
from tests.fixtures.clock import FakeClock

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
OLD = f"whsec_{base64.b64encode(KEY[::-1]).decode()}"
NOW_MS = FakeClock().now_ms()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Api() as running:
        running.on("POST /in", answer(b"", "204 No Content", None))
        yield running


def section(url: str, **more: Any) -> dict[str, Any]:
    return {"targets": {"deploys": {"url": url, "secret": SECRET, **more}}, "allow_private": ["127.0.0.1"]}


def made(settings: dict[str, Any]) -> Upstream:
    config = WebhookConnector.configure(settings, {})
    return WebhookConnector.upstream(config, Surroundings(clock=FakeClock(), version="1.2.3", server="hooks"))


async def sent(settings: dict[str, Any], data: Any = None, **call: Any) -> Any:
    upstream = made(settings)
    await upstream.open()
    arguments = {"data": {"version": 7} if data is None else data}
    try:
        asked = {"call_id": "call_1", "timeout_s": 5.0, **call}
        return (await upstream.call(ToolCall("send_deploys", arguments, **asked)))["structuredContent"]
    finally:
        await upstream.close()


def test_a_signature_is_the_one_of_the_published_example() -> None:
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_message_is_posted_and_its_receiver_can_verify_it(api: Api) -> None:
    result = await sent(section(f"{api.url}/in", type="deploy.done", old_secret=OLD))
    (seen,) = api.seen
    assert seen.json == {"type": "deploy.done", "data": {"version": 7}}
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["webhook-id"] == result["message_id"]
    assert seen.headers["webhook-timestamp"] == str(NOW_MS // 1000)
    signed = f"{result['message_id']}.{seen.headers['webhook-timestamp']}.".encode() + seen.body
    expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in (KEY, KEY[::-1])]
    assert seen.headers["webhook-signature"] == f"v1,{expected[0]} v1,{expected[1]}"
    assert result["status"] == 204
    assert not any("whsec" in value for value in seen.headers.values())


async def test_every_attempt_at_a_call_has_the_same_id_and_every_call_its_own(api: Api) -> None:
    settings = section(f"{api.url}/in", idempotency_header="Idempotency-Key")
    first = await sent(settings, idempotency_key="key 1\r\nX: y")
    again = await sent(settings, idempotency_key="key 1\r\nX: y")
    other = await sent(settings, call_id="call_2")
    assert first["message_id"] == again["message_id"] != other["message_id"]
    assert [seen.headers["idempotency-key"] for seen in api.seen] == [
        first["message_id"],
        first["message_id"],
        other["message_id"],
    ]


def test_only_a_receiver_that_knows_repetitions_makes_sending_repeatable() -> None:
    plainly = made(section("https://a.example/in")).traits("send_deploys")
    keyed = made(section("https://a.example/in", idempotency_header="Idempotency-Key")).traits("send_deploys")
    assert plainly is not None
    assert keyed is not None
    assert (plainly.effect, plainly.idempotent) == (Effect.IRREVERSIBLE, False)
    assert (keyed.effect, keyed.idempotent) == (Effect.WRITE, True)


@pytest.mark.parametrize(
    ("status", "fault", "in_doubt"),
    [
        ("401 Unauthorized", CredentialExpired, False),
        ("410 Gone", Rejected, False),
        ("302 Found", Rejected, False),
        ("429 Too Many Requests", Unavailable, True),
        ("503 Service Unavailable", Unavailable, True),
    ],
)
async def test_a_refusal_is_mapped(api: Api, status: str, fault: type[ConnectorFault], in_doubt: bool) -> None:
    api.on("POST /in", answer(b"no \x1b[31m" + b"x" * 9999, status, "text/plain", Retry_After="7"))
    measure = Measure()
    with pytest.raises(fault) as caught:
        await sent(section(f"{api.url}/in"), measure=measure)
    assert (measure.status, measure.received) == (int(status[:3]), 10_007)
    assert caught.value.retry_after_s == (7.0 if in_doubt else None)
    assert caught.value.retryable is in_doubt
    assert "\x1b" not in caught.value.detail
    assert len(caught.value.detail) < 300
    assert len(api.seen) == 1


async def test_no_answer_is_in_doubt_and_no_connection_is_not(api: Api) -> None:
    api.on("POST /in", lambda seen: b"")
    with pytest.raises(Unavailable) as caught:
        await sent(section(f"{api.url}/in"))
    assert caught.value.sent
    with pytest.raises(Unavailable) as caught:
        await sent(section("http://127.0.0.1:1/in"))
    assert not caught.value.sent


async def test_a_receiver_that_says_nothing_is_not_waited_for_longer_than_told(api: Api) -> None:
    api.on("POST /in", lambda seen: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    with pytest.raises(TimedOut) as caught:
        await sent({**section(f"{api.url}/in"), "timeout_s": 0.1})
    assert caught.value.sent


async def test_messages_go_nowhere_but_to_declared_public_places(api: Api) -> None:
    private = {"targets": {"deploys": {"url": api.url.replace("http", "https"), "secret": SECRET}}}
    with pytest.raises(Rejected, match="allow_private"):
        await sent(private)
    upstream = made(section(f"{api.url}/in"))
    await upstream.open()
    for tool, arguments in (
        ("send_elsewhere", {"data": {}}),
        ("send_deploys", {"data": {}, "url": "https://evil.example"}),
        ("send_deploys", {"data": "text"}),
        ("send_deploys", {}),
    ):
        with pytest.raises(Rejected):
            await upstream.call(ToolCall(tool, arguments, "call_1", 5.0))
    await upstream.close()
    with pytest.raises(Unavailable, match="not open"):
        await upstream.call(ToolCall("send_deploys", {"data": {}}, "call_1", 5.0))
    assert api.seen == []


async def test_the_data_of_a_target_is_what_its_tool_takes() -> None:
    data = {"type": "object", "properties": {"version": {"type": "integer"}}, "required": ["version"]}
    (tool,) = await made(section("https://a.example/in", data=data, description="Tell of a deploy.")).tools()
    assert tool["inputSchema"]["properties"] == {"data": data}
    assert (tool["description"], tool["annotations"]["destructiveHint"]) == ("Tell of a deploy.", True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": {}},
        section("http://a.example/in"),
        section("not a url"),
        section("https://a.example/in", secret="hunter2-hunter2"),
        section("https://a.example/in", secret="whsec_c2hvcnQ="),
        section("https://a.example/in", secret="whsec_!!!"),
        section("https://a.example/in", idempotency_header="webhook-id"),
        section("https://a.example/in", idempotency_header="a b"),
        section("https://a.example/in", data={"type": "string"}),
        {"targets": {"a b": {"url": "https://a.example", "secret": SECRET}}},
        {**section("https://a.example/in"), "unknown": 1},
    ],
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookConnector.configure(wrong, {})
    assert "hunter2" not in str(caught.value)


async def test_the_connector_keeps_the_contract(api: Api) -> None:
    sample = ToolCall("send_deploys", {"data": {"version": 7}}, "call_1", 5.0)
    await check_connector(WebhookConnector, section(f"{api.url}/in", old_secret=OLD), sample=sample)
