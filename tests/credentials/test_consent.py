"""A user's own account: asked for once, bound to who was asked, refreshed with rotation, and theirs alone."""

import asyncio
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import pytest

from connectors.mcp import McpConnector
from gateway.connector import ITSELF, Behalf, ConnectorFault
from gateway.credentials.accounts import Accounts
from gateway.credentials.consent import Consent, NotOurs, keep
from gateway.credentials.fault import CredentialFault, GrantRefused
from gateway.credentials.loopback import listening
from gateway.credentials.oauth import OAuth
from gateway.credentials.vault import Vault, account_name
from tests.credentials.authority import Authority, Ring, said

ALICE = Behalf("alice", "https://idp.example")
BOB = Behalf("bob", "https://idp.example")
REDIRECT = "http://127.0.0.1:9/callback"


def oauth_of(keys: Ring, section: dict[str, Any], server: str = "oauth") -> OAuth:
    sought = McpConnector.sought(McpConnector.configure(section, None), server)
    assert sought is not None
    return OAuth(sought, Accounts(keys.keeper.vault), keys.clock)


def section_of(oauth: Authority, **auth: Any) -> dict[str, Any]:
    return oauth.section("authorization_code", **{"client_id": None, "client_secret": None, **auth})


async def asked(keys: Ring, section: dict[str, Any], redirect: str = REDIRECT) -> Consent:
    return await Consent.asked(oauth_of(keys, section), redirect, keys.keeper.vault, keys.clock)


async def redirected(url: str) -> dict[str, str]:
    """Go where a user is sent and consent; return what the browser brings back."""
    async with httpx2.AsyncClient() as browser:
        reply = await browser.get(url)
    return dict(parse_qsl(urlsplit(reply.headers["location"]).query))


async def connect(keys: Ring, oauth: Authority, behalf: Behalf, **auth: Any) -> None:
    oauth.control(user=behalf.user or "shared")
    consent = await asked(keys, section_of(oauth, **auth))
    account = await consent.given(await redirected(consent.url))
    await keep(account, "oauth", behalf, keys.keeper.vault)


async def test_each_user_acts_with_their_own_account_and_nobody_with_anothers(oauth: Authority, keys: Ring) -> None:
    for behalf in (Behalf(), ALICE, BOB):
        await connect(keys, oauth, behalf)
    upstream = await keys.open(section_of(oauth))
    whose = await asyncio.gather(*(said(upstream, behalf=each) for each in (ALICE, BOB, Behalf(), ALICE) * 5))
    assert whose == ["alice", "bob", "shared", "alice"] * 5
    assert [upstream.concerning(each) for each in (ALICE, BOB, Behalf())] == [ALICE, BOB, ITSELF]
    stranger = Behalf("alice", "https://another-idp.example")
    for nobody in (stranger, Behalf("carol", "https://idp.example")):
        with pytest.raises(ConnectorFault) as caught:
            await said(upstream, behalf=nobody)
        assert (caught.value.code, caught.value.sent) == ("credential_expired", False)
        assert f"toolgate credential connect oauth --user {nobody.user}" in caught.value.message
    assert keys.events == []


async def test_a_user_can_connect_while_the_gateway_runs(oauth: Authority, keys: Ring) -> None:
    await connect(keys, oauth, Behalf())
    upstream = await keys.open(section_of(oauth))
    with pytest.raises(ConnectorFault):
        await said(upstream, behalf=ALICE)
    await connect(keys, oauth, ALICE)
    await asyncio.sleep(1.05)  # what cannot be had is asked for once a second
    assert await said(upstream, behalf=ALICE) == "alice"


async def test_a_user_without_an_account_is_told_so_each_time_and_the_server_is_not_to_blame(
    oauth: Authority, keys: Ring
) -> None:
    await connect(keys, oauth, Behalf())
    upstream = await keys.open(section_of(oauth))
    for _ in range(4):
        with pytest.raises(ConnectorFault) as caught:
            await said(upstream, behalf=BOB)
        assert (caught.value.code, caught.value.wants_consent) == ("credential_expired", True)


async def test_an_account_that_lists_is_refreshed_where_it_is(oauth: Authority, keys: Ring) -> None:
    oauth.control(ttl_s=0.0001)
    await connect(keys, oauth, ALICE)
    oauth.control(ttl_s=3600)
    assert len(await (await keys.open(section_of(oauth, list_as="alice"))).tools()) == 12
    assert oauth.count()["refresh_token"] == 1
    assert [name for name in keys.keeper.vault.names() if name[0] == "account"] == [
        account_name("oauth", "alice", ALICE.issuer)
    ]


async def test_an_account_that_is_disconnected_while_it_is_refreshed_stays_so(oauth: Authority, keys: Ring) -> None:
    oauth.control(ttl_s=0.0001)
    await connect(keys, oauth, ALICE)
    accounts = Accounts(keys.keeper.vault)
    account = await accounts.find("oauth", ALICE)
    assert account is not None
    keys.keeper.vault.remove(account_name("oauth", "alice", ALICE.issuer))
    assert not await accounts.renewed("oauth", ALICE, account)
    assert not await accounts.renewed("oauth", Behalf("alice"), account)
    assert await accounts.find("oauth", ALICE) is None


async def test_a_call_whose_user_disconnects_while_it_waits_for_a_token_is_not_made(
    oauth: Authority, keys: Ring
) -> None:
    await connect(keys, oauth, Behalf())
    oauth.control(ttl_s=0.0001)
    await connect(keys, oauth, ALICE)
    upstream = await keys.open(section_of(oauth))
    oauth.control(ttl_s=3600, holds_tokens=True)
    calling = asyncio.ensure_future(said(upstream, behalf=ALICE))
    while not oauth.count()["refresh_token"]:
        await asyncio.sleep(0.02)
    keys.keeper.vault.remove(account_name("oauth", "alice", ALICE.issuer))
    oauth.control(holds_tokens=False)
    with pytest.raises(ConnectorFault) as caught:
        await calling
    assert caught.value.wants_consent
    assert keys.keeper.vault.get(account_name("oauth", "alice", ALICE.issuer)) is None


async def test_an_account_that_lists_is_not_lent_to_callers_who_act_for_nobody(oauth: Authority, keys: Ring) -> None:
    await connect(keys, oauth, ALICE)
    upstream = await keys.open(section_of(oauth, list_as="alice"))
    assert len(await upstream.tools()) == 12
    with pytest.raises(ConnectorFault) as caught:
        await said(upstream)
    assert (caught.value.code, caught.value.sent) == ("forbidden", False)


async def test_tokens_are_refreshed_with_rotation_and_survive_a_restart(oauth: Authority, keys: Ring) -> None:
    oauth.control(ttl_s=0.4)
    await connect(keys, oauth, Behalf())
    upstream = await keys.open(section_of(oauth))
    while oauth.count()["refresh_token"] < 3:
        assert await said(upstream) == "shared"
    from tests.credentials.authority import ring

    await upstream.close()
    await keys.keeper.close()
    oauth.control(ttl_s=3600)
    async with ring(keys.folder) as again:
        assert await said(await again.open(section_of(oauth))) == "shared"
    assert keys.events == []


async def test_a_withdrawn_consent_is_one_event_that_names_the_user_and_a_new_one_ends_it(
    oauth: Authority, keys: Ring
) -> None:
    await connect(keys, oauth, Behalf())
    await connect(keys, oauth, ALICE)
    upstream = await keys.open(section_of(oauth))
    await said(upstream, behalf=ALICE)
    oauth.control(rotate=True)  # the tokens are void …
    assert await said(upstream, behalf=ALICE) == "alice"
    oauth.control(rotate=True, revoke_refresh=True)  # … and now the consent too
    for _ in range(3):
        with pytest.raises(ConnectorFault) as caught:
            await said(upstream, behalf=ALICE)
        assert "--user alice" in caught.value.message
    await asyncio.sleep(0)
    assert [event.on_behalf_of for event in keys.events] == ["alice"]
    await connect(keys, oauth, ALICE)
    assert await said(upstream, behalf=ALICE) == "alice"


async def test_the_gateway_registers_once_for_each_authorization_server(oauth: Authority, keys: Ring) -> None:
    first, second = await asked(keys, section_of(oauth)), await asked(keys, section_of(oauth))
    names = [parse_qs(urlsplit(each.url).query)["client_id"] for each in (first, second)]
    assert names[0] == names[1]
    [registration] = oauth.seen("register")
    assert (registration["application_type"], registration["redirect_uris"]) == ("native", [REDIRECT])


async def test_what_the_user_is_sent_with_binds_the_answer_to_this_question(oauth: Authority, keys: Ring) -> None:
    consent = await asked(keys, section_of(oauth, scopes=["read"]))
    await redirected(consent.url)
    [sent] = oauth.seen("authorize")
    assert (sent["code_challenge_method"], sent["resource"], sent["scope"]) == ("S256", oauth.mcp, "read")
    assert len(sent["state"]) >= 43
    assert len(sent["code_challenge"]) == 43


async def test_a_stolen_or_missing_state_is_not_an_answer(oauth: Authority, keys: Ring) -> None:
    mine, thiefs = await asked(keys, section_of(oauth)), await asked(keys, section_of(oauth))
    stolen = await redirected(thiefs.url)
    for came in (stolen, {**stolen, "state": ""}, {name: v for name, v in stolen.items() if name != "state"}):
        with pytest.raises(NotOurs):
            await mine.given(came)
    assert oauth.count()["authorization_code"] == 0
    assert (await mine.given(await redirected(mine.url))).issuer == oauth.url  # the user's own answer still counts


async def test_an_answer_counts_once(oauth: Authority, keys: Ring) -> None:
    consent = await asked(keys, section_of(oauth))
    came = await redirected(consent.url)
    await consent.given(came)
    with pytest.raises(NotOurs):
        await consent.given(came)


async def test_a_code_of_another_question_is_refused_by_its_verifier(oauth: Authority, keys: Ring) -> None:
    mine, other = await asked(keys, section_of(oauth)), await asked(keys, section_of(oauth))
    foreign, came = await redirected(other.url), await redirected(mine.url)
    with pytest.raises(GrantRefused):
        await mine.given({**came, "code": foreign["code"]})


@pytest.mark.parametrize("iss", ["https://evil.example", "", None])
async def test_an_answer_of_another_issuer_or_of_none_is_refused_and_the_code_is_not_sent(
    oauth: Authority, keys: Ring, iss: str | None
) -> None:
    oauth.control(redirect={"iss": iss})
    consent = await asked(keys, section_of(oauth))
    with pytest.raises(GrantRefused, match="9207"):
        await consent.given(await redirected(consent.url))
    assert oauth.count()["token"] == 0


async def test_a_refusal_of_the_user_is_told(oauth: Authority, keys: Ring) -> None:
    oauth.control(redirect={"error": "access_denied", "code": None})
    consent = await asked(keys, section_of(oauth))
    with pytest.raises(GrantRefused, match="not given"):
        await consent.given(await redirected(consent.url))


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
        ({"code_challenge_methods_supported": []}, "PKCE"),
        ({"code_challenge_methods_supported": "S256"}, "PKCE"),
        ({"authorization_endpoint": ""}, "no page"),
    ],
)
async def test_a_server_without_safe_consent_is_refused_before_anybody_is_sent_there(
    oauth: Authority, keys: Ring, metadata: dict[str, Any], why: str
) -> None:
    oauth.control(metadata=metadata)
    with pytest.raises(ConnectorFault, match=why):
        await asked(keys, section_of(oauth))
    assert oauth.count()["register"] == 0


async def test_a_server_that_registers_nobody_needs_a_client_id(oauth: Authority, keys: Ring) -> None:
    oauth.control(metadata={"registration_endpoint": ""})
    with pytest.raises(GrantRefused, match="client_id"):
        await asked(keys, section_of(oauth))


async def test_an_account_is_not_used_at_another_authorization_server(oauth: Authority, keys: Ring) -> None:
    oauth.control(ttl_s=0.0001)  # over before anybody can show it
    await connect(keys, oauth, Behalf())
    vault = keys.keeper.vault
    name = account_name("oauth", "", "")
    entry = vault.get(name)
    assert entry is not None
    vault.put(name, {**entry, "issuer": "https://another.example"})
    with pytest.raises(ConnectorFault) as caught:
        await keys.build(section_of(oauth)).open()
    assert "another authorization server" in caught.value.detail
    assert oauth.count()["refresh_token"] == 0


async def test_the_browser_comes_back_to_this_machine(oauth: Authority, keys: Ring) -> None:
    async with listening(0) as loopback:
        consent = await asked(keys, section_of(oauth), loopback.redirect)
        waiting = asyncio.ensure_future(loopback.account(consent))
        await asyncio.sleep(0)
        async with httpx2.AsyncClient(follow_redirects=True) as browser:
            strange = [
                await browser.get(loopback.redirect),
                await browser.get(f"{loopback.redirect}?state=x&code=y"),
                await browser.get(f"{loopback.redirect}?state=x&state=y"),
                await browser.get(loopback.redirect.replace("/callback", "/other")),
                await browser.post(loopback.redirect),
                await browser.get(loopback.redirect, headers={"Host": "evil.example"}),
            ]
            assert {each.status_code for each in strange} == {400}
            assert not waiting.done()
            assert (await browser.get(consent.url)).text.startswith("Connected")
        assert (await waiting).issuer == oauth.url


async def test_a_refusal_comes_back_too(oauth: Authority, keys: Ring) -> None:
    oauth.control(redirect={"iss": "https://evil.example"})
    async with listening(0) as loopback:
        consent = await asked(keys, section_of(oauth), loopback.redirect)
        waiting = asyncio.ensure_future(loopback.account(consent))
        await asyncio.sleep(0)
        async with httpx2.AsyncClient(follow_redirects=True) as browser:
            assert (await browser.get(consent.url)).status_code == 400
        with pytest.raises(GrantRefused):
            await waiting


async def test_a_visitor_who_says_nothing_sensible_changes_nothing() -> None:
    async with listening(0) as loopback:
        port = int(loopback.redirect.split(":")[2].partition("/")[0])
        for text in (b"", b"GET\r\n\r\n", b"x" * 20_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text)
            writer.write_eof()
            assert b"200" not in await reader.read()
            writer.close()


async def test_nothing_of_an_account_is_readable_on_disk(oauth: Authority, keys: Ring) -> None:
    await connect(keys, oauth, ALICE)
    entry = keys.keeper.vault.get(account_name("oauth", "alice", ALICE.issuer))
    assert entry is not None
    value, refresh = entry["token"][0], entry["token"][3]
    for path in (keys.folder / ".toolgate").rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0
            content = path.read_bytes()
            assert not any(text.encode() in content + path.name.encode() for text in (value, refresh, "alice"))


def test_an_entry_in_the_place_of_another_does_not_open(tmp_path: Path) -> None:
    vault = Vault(tmp_path, os.environ)
    vault.put(("account", "s", "alice", ""), {"a": 1})
    [alices] = (tmp_path / "credentials").glob("*.enc")
    vault.put(("account", "s", "bob", ""), {"b": 2})
    [bobs] = set((tmp_path / "credentials").glob("*.enc")) - {alices}
    bobs.write_bytes(alices.read_bytes())
    assert vault.get(("account", "s", "alice", "")) == {"a": 1}
    with pytest.raises(CredentialFault, match="another entry"):
        vault.get(("account", "s", "bob", ""))
