"""Web pages of named origins use MCP; what every other page is told."""

import pytest

from gateway.transport.browsers import open_to
from tests.transport.front import Front, bearer

PAGE = "http://localhost:6274"
ASKED = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, mcp-param-region",
}


def front() -> Front:
    front = Front()
    front.app = open_to((PAGE,), front.app)
    return front


async def test_a_page_of_a_named_origin_calls_in_either_era_and_reads_the_answer() -> None:
    gate = front()
    modern = await gate.modern("tools/list", origin=PAGE)
    session = await gate.initialize(origin=PAGE)
    legacy = await gate.legacy("tools/list", origin=PAGE, mcp_session_id=session)
    for answer in (modern, legacy):
        assert answer.json()["result"]["tools"]
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["vary"] == "Origin"
        assert "mcp-session-id" in answer.headers["access-control-expose-headers"]


async def test_a_page_of_a_named_origin_reads_why_it_was_refused() -> None:
    refused = await front().modern("tools/list", origin=PAGE, authorization="Bearer wrong")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
    assert "www-authenticate" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/desk", "/.well-known/oauth-protected-resource/mcp"])
async def test_a_browser_is_told_what_a_page_may_send_before_it_sends_it(path: str) -> None:
    told = await front().send("OPTIONS", path, headers={"origin": PAGE, **ASKED})
    assert (told.status_code, told.headers["access-control-allow-origin"]) == (204, PAGE)
    assert told.headers["access-control-allow-headers"] == ASKED["access-control-request-headers"]
    assert told.headers["access-control-allow-methods"] == "GET, POST, DELETE"
    assert "access-control-allow-credentials" not in told.headers


async def test_a_page_of_a_named_origin_finds_where_to_log_in() -> None:
    found = await front().send("GET", "/.well-known/oauth-protected-resource", headers={"origin": PAGE})
    assert (found.status_code, found.headers["access-control-allow-origin"]) == (200, PAGE)


@pytest.mark.parametrize("origin", ["http://localhost:6275", "https://localhost:6274", "http://localhost", "null"])
async def test_no_other_page_may_ask_and_it_is_told_what_to_name(origin: str) -> None:
    for answer in (
        await front().modern("tools/list", origin=origin),
        await front().send("OPTIONS", headers={"origin": origin, **ASKED}),
    ):
        assert answer.status_code == 403
        assert "server.origins" in answer.json()["error"]["message"]
        assert "access-control-allow-origin" not in answer.headers


async def test_two_origins_in_one_request_are_none() -> None:
    lines = [("origin", PAGE), ("origin", PAGE), ("authorization", bearer()), ("content-type", "application/json")]
    answer = await front().send("POST", headers=lines, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (400, False)


@pytest.mark.parametrize("path", ["/-/status", "/healthz", "/mcpx"])
async def test_a_named_origin_is_foreign_beside_mcp(path: str) -> None:
    answer = await front().send("GET", path, headers={"origin": PAGE})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (403, False)


async def test_a_foreign_host_stays_one_whatever_the_page() -> None:
    assert (await front().modern("tools/list", origin=PAGE, host="evil.example")).status_code == 421


async def test_where_no_page_may_ask_nothing_is_put_in_the_way() -> None:
    app = Front().app
    assert open_to((), app) is app
