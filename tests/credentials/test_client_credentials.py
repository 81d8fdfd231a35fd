"""The gateway's own token: got once, renewed ahead of its end, and given up once when it is refused for good."""

import asyncio
from typing import Any

import pytest

from gateway.connector import ConnectorFault, Upstream
from gateway.store.ports import EventKind
from tests.credentials.authority import SECRET, Authority, Ring, authority, said


async def fault(upstream: Upstream, tool: str = "t0") -> ConnectorFault:
    with pytest.raises(ConnectorFault) as caught:
        await said(upstream, tool)
    return caught.value


async def test_a_token_is_got_once_for_everything_and_bound_to_the_server(oauth: Authority, keys: Ring) -> None:
    upstream = await keys.open(oauth.section(scopes=["read", "write"]))
    assert await asyncio.gather(*(said(upstream) for _ in range(20))) == ["acme"] * 20
    [form] = oauth.seen("token")
    assert (form["resource"], form["scope"]) == (oauth.mcp, "read write")
    assert SECRET not in str(form)
    assert oauth.count()["metadata"] == 1


async def test_the_authorization_server_is_found_by_way_of_the_mcp_server(oauth: Authority, keys: Ring) -> None:
    upstream = await keys.open(oauth.section(issuer=None))
    assert await said(upstream) == "acme"


async def test_a_token_that_was_created_and_is_of_no_kind_is_a_bearer_token(oauth: Authority, keys: Ring) -> None:
    oauth.control(granted_status=201, token_answer={"token_type": None})
    assert await said(await keys.open(oauth.section())) == "acme"


async def test_servers_with_the_same_section_and_url_share_one_token(oauth: Authority, keys: Ring) -> None:
    first = await keys.open(oauth.section(), "first")
    second = await keys.open(oauth.section(), "second")
    assert [await said(first), await said(second)] == ["acme", "acme"]
    assert oauth.count()["token"] == 1
    other = await keys.open(oauth.section(client_id="old", client_secret="client-secret-of-yesterday"), "third")
    assert await said(other) == "old"


async def test_a_thousand_calls_pass_three_ends_and_a_rotation_without_a_failure(oauth: Authority, keys: Ring) -> None:
    ttl_s = 1.5
    oauth.control(ttl_s=ttl_s)
    upstream = await keys.open(oauth.section())
    answers: list[str] = []

    async def work(calls: int, pause_s: float) -> None:
        for _ in range(calls):
            answers.append(await said(upstream))
            await asyncio.sleep(pause_s)

    while (await asyncio.to_thread(oauth.count))["token"] < 4:
        await asyncio.gather(*(work(5, 0.01) for _ in range(10)))
    assert all(left < ttl_s / 2 for left in oauth.seen("left"))  # one refresh for each end, and none before its time
    before = oauth.count()["token"]
    oauth.control(rotate=True, ttl_s=3600)
    await asyncio.gather(*(work(max(20, (1000 - len(answers)) // 10 + 1), 0) for _ in range(10)))
    assert len(answers) >= 1000
    assert set(answers) == {"acme"}
    assert oauth.count()["calls"] == len(answers)
    assert oauth.count()["token"] - before == 1
    assert keys.events == []


async def test_a_revoked_token_is_renewed_once_and_the_call_repeated(oauth: Authority, keys: Ring) -> None:
    upstream = await keys.open(oauth.section())
    await said(upstream)
    oauth.control(rotate=True)
    assert await asyncio.gather(*(said(upstream) for _ in range(20))) == ["acme"] * 20
    assert oauth.count()["token"] == 2


async def test_a_token_refused_for_good_is_one_event_for_twelve_tools_and_no_further_call(
    oauth: Authority, keys: Ring
) -> None:
    upstream = await keys.open(oauth.section())
    oauth.control(refuses_all=True)
    first = await fault(upstream)
    assert (first.code, first.retryable) == ("credential_expired", False)
    assert "toolgate credential renew oauth" in first.message
    asked = oauth.count()
    for tool in range(12):
        refused = await fault(upstream, f"t{tool}")
        assert (refused.code, refused.sent) == ("credential_expired", False)
    assert oauth.count() == asked
    await asyncio.sleep(0)  # it is recorded beside the calls
    [event] = keys.events
    assert event.kind is EventKind.ADMIN
    assert (event.body["what"], event.body["servers"]) == ("credential dead", ["oauth"])
    [status] = [each for each in keys.keeper.status() if each["state"] == "dead"]
    assert status["fix"] == "toolgate credential renew oauth"


async def test_many_calls_at_once_that_find_the_credential_dead_make_one_event(oauth: Authority, keys: Ring) -> None:
    upstream = await keys.open(oauth.section())
    oauth.control(refuses_all=True)
    faults = await asyncio.gather(*(fault(upstream, f"t{n}") for n in range(12)))
    assert {each.code for each in faults} <= {"credential_expired", "unavailable"}
    assert len(keys.events) == 1
    assert oauth.count()["token"] <= 3


async def test_a_dead_credential_works_again_once_a_person_has_renewed_it(oauth: Authority, keys: Ring) -> None:
    upstream = await keys.open(oauth.section())
    oauth.control(refuses_all=True)
    await fault(upstream)
    oauth.control(refuses_all=False)
    await fault(upstream)
    keys.keeper.vault.renew("oauth")
    assert await said(upstream) == "acme"
    assert [each["state"] for each in keys.keeper.status()] == ["in use", "in use"]


async def test_a_client_that_is_refused_dies_for_every_server_that_shares_it(oauth: Authority, keys: Ring) -> None:
    oauth.control(clients={"acme": "another"})
    first, second = (
        keys.build(oauth.section(), "first"),
        keys.build({**oauth.section(), "url": f"{oauth.url}/other"}, "two"),
    )
    for upstream in (first, second, first):
        with pytest.raises(ConnectorFault) as caught:
            await upstream.open()
        assert caught.value.code == "credential_expired"
    assert oauth.count()["token"] == 1
    assert len(keys.events) == 1


async def test_a_client_that_is_refused_at_a_server_s_own_issuer_goes_on_at_another_s(
    oauth: Authority, keys: Ring
) -> None:
    with authority() as elsewhere:
        here = await keys.open(oauth.section(issuer=None), "here")
        oauth.control(clients={"acme": "another"}, rotate=True)
        assert (await fault(here)).code == "credential_expired"
        there = await keys.open(elsewhere.section(issuer=None), "there")
        assert await said(there) == "acme"
    assert [event.body["servers"] for event in keys.events] == [["here"]]


async def test_a_changed_secret_is_used_from_the_next_call_on(oauth: Authority, keys: Ring) -> None:
    from connectors.mcp import McpConnector

    upstream = await keys.open(oauth.section())
    await said(upstream)
    oauth.control(clients={"acme": "the-new-secret"}, rotate=True)
    await fault(upstream)
    changed = McpConnector.configure(oauth.section(client_secret="the-new-secret"), None)
    sought = McpConnector.sought(changed, "oauth")
    assert sought is not None
    keys.keeper.follow(sought)
    assert await said(upstream) == "acme"


async def test_what_the_server_forbids_to_one_tool_is_not_held_against_the_others(oauth: Authority, keys: Ring) -> None:
    oauth.control(forbidden=["t3"])
    upstream = await keys.open(oauth.section())
    refused = await fault(upstream, "t3")
    assert (refused.code, refused.retryable) == ("forbidden", False)
    assert "payments.write" in refused.message
    assert await said(upstream, "t4") == "acme"
    assert keys.events == []


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_authorization_server_that_is_down_kills_nothing(oauth: Authority, keys: Ring, status: int) -> None:
    oauth.control(token_status=status)
    upstream = keys.build(oauth.section())
    with pytest.raises(ConnectorFault) as caught:
        await upstream.open()
    assert (caught.value.code, caught.value.sent, caught.value.retryable) == ("unavailable", False, True)
    oauth.control(token_status=0)
    await asyncio.sleep(1.05)  # it is left alone for a second
    await upstream.open()
    assert await said(upstream) == "acme"
    assert keys.events == []


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"metadata": {"issuer": "https://evil.example"}}, "another authorization server"),
    ({"metadata": {"token_endpoint": "http://evil.example/token"}}, "only asked for over https"),
    ({"metadata": {"token_endpoint": "https://169.254.169.254/token"}}, "metadata address"),
    ({"metadata": {"token_endpoint": "https://10.0.0.7/token"}}, "private address"),
    ({"metadata": {"token_endpoint": "https://[::ffff:10.0.0.7]/token"}}, "private address"),
    ({"metadata": {"token_endpoint": "https://2130706433/token"}}, "none"),
    ({"metadata": {"token_endpoint": "file:///etc/passwd"}}, "none"),
    ({"metadata": {"token_endpoint": 7}}, "none"),
    ({"metadata": {"token_endpoint": ""}}, "no token endpoint"),
    ({"metadata": {"authorization_endpoint": "javascript:alert(1)"}}, "none"),
    ({"metadata_status": 302}, "no authorization server metadata"),
    ({"metadata_status": 404}, "no authorization server metadata"),
]


@pytest.mark.parametrize(("habits", "why"), HOSTILE)
async def test_hostile_metadata_is_refused_and_no_secret_is_sent(
    oauth: Authority, keys: Ring, habits: dict[str, Any], why: str
) -> None:
    oauth.control(**habits)
    with pytest.raises(ConnectorFault) as caught:
        await keys.build(oauth.section()).open()
    assert caught.value.code == "contract_broken"
    assert why in caught.value.message
    assert oauth.count()["token"] == 0


RESOURCES: list[dict[str, Any]] = [
    {"resource": {"resource": "https://evil.example/mcp"}},
    {"resource": {"resource": 7}},
    {"resource": {"authorization_servers": []}},
    {"resource": {"authorization_servers": ["http://evil.example"]}},
    {"resource": {"authorization_servers": ["https://192.168.1.1"]}},
    {"resource_metadata": "https://evil.example/.well-known/oauth-protected-resource"},
]


@pytest.mark.parametrize("habits", RESOURCES)
async def test_hostile_resource_metadata_is_refused(oauth: Authority, keys: Ring, habits: dict[str, Any]) -> None:
    oauth.control(**habits)
    with pytest.raises(ConnectorFault) as caught:
        await keys.build(oauth.section(issuer=None)).open()
    assert caught.value.code == "contract_broken"
    assert oauth.count()["token"] == 0
