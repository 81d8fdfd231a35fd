"""Settings that could not mean anything good are refused before anything runs."""

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.rest.config import ApiConfig
from gateway.connector import Secret
from tests.connectors.rest.api import Api, answer
from tests.connectors.rest.building import asked, http_section
from tests.connectors.rest.conftest import Start

HERE = "https://api.example.com/v1"
KEY = "sk-live-0123456789"


@pytest.mark.parametrize(
    "section",
    [
        {"base_url": "https://127.1/"},
        {"base_url": "https://user:pass@api.example.com/"},
        {"base_url": "https://api.example.com/?tenant=1"},
        {"base_url": "http://api.example.com/", "auth": {"type": "bearer", "token": KEY}},
        {"base_url": "http://api.example.com/", "headers": {"X-Key": KEY}},
        {"auth": {"type": "digest"}},
        {"auth": {"type": "bearer", "token": "a\r\nb"}},
        {"auth": {"type": "bearer", "token": ""}},
        {"auth": {"type": "basic", "username": "a:b", "password": "c"}},
        {"auth": {"type": "api_key", "in": "header", "name": "Host", "value": KEY}},
        {"auth": {"type": "api_key", "in": "header", "name": "X Key", "value": KEY}},
        {"auth": {"type": "api_key", "in": "header", "name": "X-Key", "value": "\u00e9"}},
        {"auth": {"type": "api_key", "in": "cookie", "name": "key", "value": "a; b"}},
        {"auth": {"type": "api_key", "in": "query", "name": "key", "value": "a\nb"}},
        {"auth": {"type": "api_key", "in": "body", "name": "key", "value": KEY}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"X-Key": "a\r\nb: c"}},
        {"headers": {"X:": "a"}},
        {"idempotency_header": "Host"},
        {"idempotency_header": "no header"},
        {"answers": {"max_bytes": 0}},
        {"answers": {"failures": {"200": "rejected"}}},
        {"answers": {"failures": {"6xx": "rejected"}}},
        {"answers": {"failures": {"404": "ignore"}}},
        {"answers": {"next": [""]}},
        {"retries": 3},
    ],
)
def test_a_setting_that_cannot_mean_anything_good_is_refused_without_showing_a_secret(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        ApiConfig.model_validate({"base_url": HERE, **section})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "where", "what"),
    [
        ({"type": "bearer", "token": KEY}, "authorization", f"Bearer {KEY}"),
        ({"type": "basic", "username": "u", "password": "p"}, "authorization", "Basic dTpw"),
        ({"type": "api_key", "in": "header", "name": "X-Key", "value": KEY}, "x-key", KEY),
        ({"type": "api_key", "in": "cookie", "name": "key", "value": KEY}, "cookie", f"key={KEY}"),
    ],
)
async def test_every_request_carries_the_credential_in_its_place(
    api: Api, start: Start, auth: dict[str, str], where: str, what: str
) -> None:
    api.on("GET /v1/find", answer({}))
    upstream = await start(http_section(api, auth=auth))
    assert KEY not in repr(upstream)
    await upstream.call(asked("find"))
    assert api.seen[0].headers[where] == what


async def test_a_key_in_the_query_goes_with_every_request_and_never_comes_back(api: Api, start: Start) -> None:
    api.on("GET /v1/find", answer(b"\0", kind="image/png"))
    auth = {"type": "api_key", "in": "query", "name": "key", "value": "a b&c123"}
    result = await (await start(http_section(api, auth=auth))).call(asked("find"))
    assert api.seen[0].target == "/v1/find?key=a%20b%26c123"
    assert "key" not in result["content"][0]["resource"]["uri"]


async def test_what_the_operator_says_the_client_accepts_is_what_it_accepts(api: Api, start: Start) -> None:
    api.on("GET /v1/find", answer({}))
    await (await start(http_section(api, headers={"accept": "application/hal+json"}))).call(asked("find"))
    assert api.seen[0].headers["accept"] == "application/hal+json"


def test_the_gateway_knows_what_it_fills_itself() -> None:
    config = ApiConfig.model_validate(
        {
            "base_url": HERE,
            "auth": {"type": "api_key", "in": "query", "name": "key", "value": KEY},
            "headers": {"X-Team": Secret("t")},
        }
    )
    filled = config.credentials()
    places = [("header", "x-team"), ("query", "key"), ("cookie", "key"), ("query", "X-Team")]
    assert [filled.takes(*place) for place in places] == [True, True, False, False]
    assert KEY not in repr(config)
