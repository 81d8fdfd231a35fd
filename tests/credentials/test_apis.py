"""HTTP APIs are shown the kinds of credentials that MCP servers are, and a dead one is one event for all it is of."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.http import HttpConnector
from gateway.connector import Behalf, ConnectorFault, Secret, ToolCall, Upstream
from gateway.connector.registry import load_connectors, sought_in
from tests.connectors.rest.api import Api, answer
from tests.credentials.authority import Authority, Ring
from tests.credentials.test_kinds import mutual, svid

MESSAGE = ("jsonrpc", "id", "method", "params")


def api_of(oauth: Authority, **more: Any) -> dict[str, Any]:
    """An `http` section over the place that knows its tokens; its tool says whose it saw."""
    tool = {
        "description": "Tell whose token it is.",
        "method": "POST",
        "path": "/mcp",
        "effect": "read",
        "input": {"type": "object", "properties": {name: {} for name in MESSAGE}},
    }
    usual = {"connector": "http", "base_url": oauth.url, "egress": {"allow_private": ["127.0.0.1"]}}
    return {**usual, "tools": {"whose": tool}, **more}


def held(oauth: Authority, kind: str = "client_credentials", **auth: Any) -> dict[str, Any]:
    return api_of(oauth, auth={**oauth.section(kind, **auth)["auth"], "resource": oauth.mcp})


async def whose(upstream: Upstream, behalf: Behalf | None = None) -> str:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t0", "arguments": {}}}
    call = ToolCall("whose", message, "call_test", 20.0, behalf=behalf or Behalf())
    result = await upstream.call(call)
    return str(result["structuredContent"]["result"]["content"][0]["text"])


async def refused(upstream: Upstream) -> ConnectorFault:
    with pytest.raises(ConnectorFault) as caught:
        await whose(upstream)
    return caught.value


async def test_an_api_is_shown_a_token_that_is_got_once_and_renewed_when_it_is_refused(
    oauth: Authority, keys: Ring
) -> None:
    upstream = await keys.open(held(oauth))
    assert set(await asyncio.gather(*(whose(upstream) for _ in range(10)))) == {"acme"}
    assert oauth.count()["client_credentials"] == 1
    oauth.control(rotate=True)
    assert await whose(upstream) == "acme"
    assert oauth.count()["client_credentials"] == 2


async def test_each_caller_reaches_an_api_with_a_token_of_its_own(oauth: Authority, keys: Ring) -> None:
    upstream = await keys.open(held(oauth, "token_exchange", audience="crm"))
    proof = Secret(svid(keys.folder / "caller.jwt", sub="alice"))
    assert await whose(upstream, Behalf("alice", "https://idp.example", proof)) == "exchanged:alice"
    assert (await refused(upstream)).code == "forbidden"


async def test_a_token_that_is_refused_for_good_is_one_event_and_costs_the_next_api_no_request(
    oauth: Authority, keys: Ring
) -> None:
    first, second = await keys.open(held(oauth), "first"), await keys.open(held(oauth), "second")
    assert [await whose(first), await whose(second)] == ["acme"] * 2
    oauth.control(refuses_all=True)
    assert (await refused(first)).code == "credential_expired"
    asked_for = oauth.count()
    assert (await refused(second)).sent is False
    assert oauth.count() == asked_for
    await asyncio.sleep(0)  # it is recorded beside the calls
    assert [event.body["servers"] for event in keys.events] == [["first", "second"]]


async def test_a_written_token_that_is_refused_is_not_shown_again(keys: Ring) -> None:
    async with Api() as api:
        api.on("POST /mcp", answer({"error": "who are you?"}, "401 Unauthorized"))
        section = api_of(Authority(api.url), auth={"type": "bearer", "token": "sk-static-4eC39HqLyjW"})
        upstream = await keys.open(section)
        assert [(await refused(upstream)).sent for _ in range(3)][1:] == [False, False]
        assert [seen.headers["authorization"] for seen in api.seen] == ["Bearer sk-static-4eC39HqLyjW"]
        await asyncio.sleep(0)  # it is recorded beside the calls
        assert len(keys.events) == 1


async def test_a_forbidden_request_says_what_the_api_said(keys: Ring) -> None:
    async with Api() as api:
        api.on("POST /mcp", answer({"error": "only on Tuesdays"}, "403 Forbidden"))
        upstream = await keys.open(api_of(Authority(api.url), headers={"X-Key": "secret-of-ours"}))
        fault = await refused(upstream)
        assert (fault.code, "only on Tuesdays" in fault.message) == ("forbidden", True)
        assert len(api.seen) == 1


async def test_a_description_is_fetched_with_the_token_of_the_api_it_describes(
    oauth: Authority, keys: Ring, tmp_path: Path
) -> None:
    token = svid(tmp_path / "svid.jwt")
    async with Api() as api:
        api.on(
            "GET /spec.json", answer({"openapi": "3.1.0", "info": {}, "paths": {"/a": {"get": {"operationId": "a"}}}})
        )
        section = {
            "connector": "openapi",
            "base_url": api.url,
            "spec": f"{api.url}/spec.json",
            "operations": ["a"],
            "auth": {"type": "jwt_file", "path": "svid.jwt"},
            "egress": {"allow_private": ["127.0.0.1"]},
        }
        await keys.open(section)
        assert api.seen[0].headers["authorization"] == f"Bearer {token}"


async def test_an_api_is_shown_a_certificate_and_a_renewed_one(keys: Ring, tmp_path: Path) -> None:
    async with Api(mutual(tmp_path)) as api:
        api.on("POST /mcp", answer({"result": {"content": [{"text": "known"}]}}, Connection="close"))
        certificates = {"type": "mtls", "cert_file": "gateway.crt", "key_file": "gateway.key"}
        egress = {"allow_private": ["127.0.0.1"], "ca_file": str(tmp_path / "server.crt")}
        upstream = await keys.open(api_of(Authority(api.url), auth=certificates, egress=egress))
        assert await whose(upstream) == "known"
        (tmp_path / "gateway.key").chmod(0o644)
        fault = await refused(upstream)
        assert (fault.code, fault.sent, "chmod 600" in fault.detail) == ("credential_expired", False, True)
        (tmp_path / "renewed.key").replace(tmp_path / "gateway.key")
        (tmp_path / "renewed.crt").replace(tmp_path / "gateway.crt")
        assert await whose(upstream) == "known"


def test_a_changed_section_of_an_api_is_one_that_the_gateway_follows(oauth: Authority) -> None:
    sections = {"crm": held(oauth), "open": api_of(oauth), "query": api_of(oauth, auth=in_query())}
    found = list(sought_in(sections, load_connectors()))
    assert [(each.server, each.url, each.auth.type) for each in found] == [("crm", oauth.url, "client_credentials")]


def in_query() -> dict[str, Any]:
    return {"type": "api_key", "in": "query", "name": "key", "value": "secret-of-ours"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"auth": {"type": "mtls", "cert_file": "a", "key_file": "b"}}, "https"),
        ({"auth": {"type": "jwt_file", "path": "a"}, "headers": {"authorization": "x"}}, "itself sets authorization"),
        ({"auth": {"type": "jwt_file", "path": "a"}, "egress": {}}, "credentials go over https only"),
        ({"auth": {"type": "magic"}}, "magic"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(oauth: Authority, more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        HttpConnector.configure(
            {name: each for name, each in api_of(oauth, **more).items() if name != "connector"}, None
        )
