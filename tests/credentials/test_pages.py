"""Users let the gateway act for them on its own pages, once they have shown to be who the call is for."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp import UrlElicitationRequiredError
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ElicitResult

from gateway.identity.tokens import Tokens
from gateway.model.clock import RandomIds
from tests.cli.house import House as Commands
from tests.credentials.authority import Authority
from tests.credentials.consenting import House, browsing, connect_shared, house_in
from tests.live.inside import code

pytestmark = pytest.mark.asyncio(loop_scope="module")
COMPLETE = "notifications/elicitation/complete"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(server: Authority, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    home: Path = tmp_path_factory.mktemp("pages")
    server.control(reset=True)
    await connect_shared(server, home)
    server.control(capabilities={"resources": {}})
    async with house_in(home, server) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(server: Authority) -> None:
    server.control(redirect={}, id_token={})


async def consents(house: House, url: str, user: str) -> str:
    """Go to a page as a user: log in, and consent. Return what the last page says."""
    house.oauth.control(user=user)
    async with browsing() as browser:
        await browser.open(url)
        return (await browser.press("login")).text


def at_this_machine(house: House, mode: str, asked: Any) -> Client:
    """Return a client over the stdio bridge, as a desktop host has it."""
    bridge = ["-m", "gateway", "stdio", "--config", str(house.gate.home / "gateway.yaml"), "--agent", "desk"]
    process = stdio_client(StdioServerParameters(command=sys.executable, args=bridge))
    return Client(process, mode=mode, cache=None, elicitation_callback=asked)  # type: ignore[arg-type]


def text(result: Any) -> str:
    assert isinstance(result, CallToolResult)
    return str(result.content[0].text)  # type: ignore[union-attr]


def url_of(error: MCPError) -> tuple[str, str]:
    [page] = UrlElicitationRequiredError.from_error(error.error).elicitations
    assert page.elicitation_id is not None
    return page.url, page.elicitation_id


class Listening:
    """A client's ear for what its server tells of pages."""

    def __init__(self) -> None:
        self.done: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, message: Any) -> None:
        if getattr(message, "method", "") == COMPLETE:
            await self.done.put(message.params.elicitation_id)


@pytest.mark.parametrize("tool", ["mail_t0", "mail_t1"], ids=["read", "effect"])
async def test_a_repeat_waits_until_its_user_has_consented_and_is_then_made(house: House, tool: str) -> None:
    user, going = f"alice-{tool}", []

    async def asked(context: Any, params: Any) -> ElicitResult:
        going.append(group.create_task(consents(house, params.url, user)))
        return ElicitResult(action="accept")  # the user has opened the page, and no more

    async with asyncio.TaskGroup() as group, house.client(user, elicitation_callback=asked) as client:
        assert text(await client.call_tool(tool, {})) == user
        assert text(await client.call_tool(tool, {"again": 1})) == user
    assert "Connected" in going[0].result()
    asked_for, connected = await house.told(user)
    assert (len(going), asked_for["what"], connected["what"]) == (1, "consent asked", "credential connected")
    assert connected["shown_by"] == f"login at {house.oauth.url}"
    assert (connected["scopes"], connected["server"], connected["as"]) == (["read"], "mail", house.oauth.url)


@pytest.mark.parametrize("tool", ["mail_t0", "mail_t1"], ids=["read", "effect"])
async def test_a_session_is_told_the_page_hears_that_it_is_done_and_repeats_the_call(house: House, tool: str) -> None:
    user, ear = f"berta-{tool}", Listening()

    async def asked(context: Any, params: Any) -> ElicitResult:
        raise AssertionError("a session is told with an error")

    async with house.client(user, "legacy", elicitation_callback=asked, message_handler=ear) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool(tool, {})
        url, page = url_of(caught.value)
        assert "Connected" in await consents(house, url, user)
        async with asyncio.timeout(20):
            assert await ear.done.get() == page
        assert text(await client.call_tool(tool, {})) == user


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_whatever_else_a_server_does_for_its_users_wants_their_consent_likewise(house: House, mode: str) -> None:
    user = f"clara-{mode}"

    async def asked(context: Any, params: Any) -> ElicitResult:
        await consents(house, params.url, user)
        return ElicitResult(action="accept")

    async with house.client(user, mode, elicitation_callback=asked) as client:
        if mode == "legacy":
            with pytest.raises(MCPError) as caught:
                await client.read_resource("note://1")
            await consents(house, url_of(caught.value)[0], user)
        found = await client.read_resource("note://1")
        assert found.contents[0].text == f"a note of {user}"  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_cannot_be_sent_to_a_page_is_told_the_command(house: House, mode: str) -> None:
    async with house.client("doris", mode) as client:
        refused = await client.call_tool("mail_t0", {})
        assert isinstance(refused, CallToolResult)
    assert code(refused) == "credential_expired"
    assert "toolgate credential connect mail --user doris" in text(refused)
    assert await house.told("doris") == []


async def test_calls_of_one_user_share_one_question(house: House) -> None:
    links = await asyncio.gather(*(house.link("emma", tool) for tool in ("mail_t0", "mail_t1", "mail_t2") * 3))
    assert len(set(links)) == 1
    assert len({await house.link("emmy"), *links}) == 2
    assert [each["what"] for each in await house.told("emma")] == ["consent asked"]


async def test_asking_for_consent_is_no_going_round_in_circles(house: House) -> None:
    assert len({await house.link("ella") for _ in range(6)}) == 1


async def test_a_user_whose_consent_has_ended_is_asked_anew(house: House) -> None:
    assert "Connected" in await consents(house, await house.link("erna"), "erna")
    assert (await house.ask("erna"))["content"][0]["text"] == "erna"
    house.oauth.control(rotate=True, revoke_refresh=True)
    for _ in range(2):
        assert "Connected" in await consents(house, await house.link("erna"), "erna")
        assert (await house.ask("erna"))["content"][0]["text"] == "erna"
        house.oauth.control(rotate=True, revoke_refresh=True)


@pytest.mark.parametrize(("user", "person"), [("carol", "carol"), ("david", "dave")])
async def test_a_person_shows_by_their_own_token_that_they_are_the_user(house: House, user: str, person: str) -> None:
    tokens = Tokens(house.gate.gateway.store, house.gate.clock, RandomIds())
    own = (await tokens.issue(f"person:{person}")).token
    house.oauth.control(user=user)
    link = await house.link(user)
    async with browsing() as browser:
        await browser.open(link)
        for wrong in ("", "tg_x_y", house.gate.tokens["bot"], own[:-1]):
            assert (await browser.press("token", token=wrong)).status_code == 403
            await browser.open(link)
        assert "Connected" in (await browser.press("token", token=f" {own} ")).text
    assert (await house.ask(user))["content"][0]["text"] == user
    told = await house.told(user)
    assert [each["what"] for each in told[1:-1]] == ["consent page refused"] * 4
    assert told[-1]["shown_by"] == f"token of {person}"
    assert own not in await house.everything()


async def test_somebody_else_who_opens_the_page_connects_nothing_and_the_user_still_can(house: House) -> None:
    link = await house.link("frida")
    before = house.oauth.count()["authorize"]
    refused = await consents(house, link, "mallory")
    assert ("for frida only" in refused, house.oauth.count()["authorize"] - before) == (True, 1)
    assert (await house.told("frida"))[-1]["why"].startswith("not shown to be the user")
    assert "Connected" in await consents(house, link, "frida")


@pytest.mark.parametrize(
    "claims", [{"nonce": "another"}, {"aud": "another"}, {"iss": "https://evil.example"}, {"azp": "x"}, {"exp": 1}]
)
async def test_an_id_token_that_is_for_another_login_shows_nothing(house: House, claims: dict[str, Any]) -> None:
    house.oauth.control(id_token=claims)
    user = f"gina-{next(iter(claims))}"
    assert f"for {user} only" in await consents(house, await house.link(user), user)


async def test_an_issuer_of_identities_need_not_say_that_it_checks_pkce(house: House) -> None:
    link = await house.link("greta")
    house.oauth.control(user="greta")
    async with browsing() as browser:
        await browser.open(link)
        house.oauth.control(metadata={"code_challenge_methods_supported": []})
        browser.at = await browser.http.post(link, data={"way": "login"})
        house.oauth.control(metadata={})
        assert "Connected" in (await browser.follow()).text


async def test_too_many_who_are_not_the_user_close_the_page(house: House) -> None:
    link = await house.link("helga")
    for _ in range(5):
        assert "for helga only" in await consents(house, link, "mallory")
    async with browsing() as browser:
        assert (await browser.open(link)).status_code == 403


async def test_a_victim_who_consents_in_their_own_browser_to_an_attackers_question_connects_nothing(
    house: House,
) -> None:
    link = await house.link("mallory")
    house.oauth.control(user="mallory")
    async with browsing() as attacker, browsing() as victim:
        await attacker.open(link)
        attacker.at = await attacker.http.post(link, data={"way": "login"})
        attacker.at = await attacker.http.get(attacker.onward())  # the issuer, where they log in as themselves
        attacker.at = await attacker.http.get(attacker.onward())
        lure = attacker.onward()  # where mallory would consent
        house.oauth.control(user="victim")
        exchanged = house.oauth.count()["authorization_code"]
        refused = await victim.open(lure)
        assert (refused.status_code, "another browser" in refused.text) == (403, True)
        assert house.oauth.count()["authorization_code"] == exchanged
        assert (await attacker.open(str(refused.url))).status_code == 404  # the question has been used up
    assert "inputRequests" in await house.ask("mallory")
    assert (await house.told("mallory"))[-1]["why"] == "another browser came back"


async def test_a_page_goes_on_in_the_browser_that_has_begun_and_other_links_are_for_others(house: House) -> None:
    link = await house.link("ida")
    house.oauth.control(user="ida")
    async with browsing() as first, browsing() as second:
        for browser in (first, second):
            await browser.open(link)
            assert browser.at.status_code == 200  # looking begins nothing
        first.at = await first.http.post(link, data={"way": "login"})
        assert (await second.http.post(link, data={"way": "login"})).status_code == 403
        other = await house.link("ida")
        assert other != link
        await second.open(other)
        assert "Connected" in (await second.press("login")).text
        assert (await first.http.get(first.onward(), follow_redirects=True)).status_code == 404
    assert [each["what"] for each in await house.told("ida")] == ["consent asked", "credential connected"]


async def test_an_answer_counts_once(house: House) -> None:
    link = await house.link("jana")
    house.oauth.control(user="jana")
    async with browsing() as browser:
        await browser.open(link)
        done = await browser.press("login")
        assert "Connected" in done.text
        again = await browser.open(str(done.url))
        assert (again.status_code, "repeat what you asked for" in again.text) == (404, True)
        assert (await browser.open(link)).status_code == 404


@pytest.mark.parametrize(
    ("redirect", "status"),
    [({"iss": "https://evil.example"}, 502), ({"error": "server_error"}, 502), ({"state": "x"}, 404)],
)
async def test_an_answer_that_is_not_what_was_asked_for_connects_nothing(
    house: House, redirect: dict[str, str], status: int
) -> None:
    user = f"kira-{next(iter(redirect))}"
    link = await house.link(user)
    house.oauth.control(user=user, redirect=redirect)
    async with browsing() as browser:
        await browser.open(link)
        assert (await browser.press("login")).status_code == status
    assert "inputRequests" in await house.ask(user)


async def test_a_user_may_say_no_at_the_authorization_server(house: House) -> None:
    house.oauth.control(user="lena")
    waiting = await house.ask("lena")
    [question] = waiting["inputRequests"].values()
    async with browsing() as browser:
        await browser.open(question["params"]["url"])
        browser.at = await browser.http.post(str(browser.at.url), data={"way": "login"})
        browser.at = await browser.http.get(browser.onward())
        browser.at = await browser.http.get(browser.onward())
        house.oauth.control(redirect={"error": "access_denied", "code": None})
        repeat = asyncio.ensure_future(house.ask("lena", requestState=waiting["requestState"]))
        assert "You said no" in (await browser.follow()).text
    for refused in (await repeat, await house.ask("lena")):
        assert refused["_meta"]["io.toolgate/refusal"]["code"] == "credential_expired"
        told = refused["content"][0]["text"]
        assert "lena was asked for their consent that the gateway uses their account at mail, and said no" in told
        assert (
            "at the authorization server. Leave it at that unless they want it after all: a call in 60 seconds" in told
        )
    assert (await house.told("lena"))[-1]["what"] == "consent refused"
    house.gate.clock.ms += 60_000
    assert "inputRequests" in await house.ask("lena")


@pytest.mark.parametrize(("action", "recorded"), [("decline", True), ("cancel", False)])
async def test_a_user_who_does_not_want_to_go_there_is_not_sent_again_by_this_call(
    house: House, action: str, recorded: bool
) -> None:
    user = f"mona-{action}"
    waiting = await house.ask(user)
    responses = {name: {"action": action} for name in waiting["inputRequests"]}
    answer = await house.ask(user, requestState=waiting["requestState"], inputResponses=responses)
    assert answer["_meta"]["io.toolgate/refusal"]["code"] == "credential_expired"
    assert [each["what"] for each in await house.told(user)] == ["consent asked"] + ["consent refused"] * recorded
    assert ("inputRequests" in await house.ask(user)) is not recorded


async def test_a_user_may_say_no_on_the_page(house: House) -> None:
    link = await house.link("nora")
    async with browsing() as browser:
        await browser.open(link)
        said = (await browser.press("no")).text
        assert "You said no, so helper does not get to use your account at mail" in said
        assert "Wait a minute" in said
        assert (await browser.open(link)).status_code == 404
    assert (await house.told("nora"))[-1]["where"] == "on the page"


async def test_a_page_is_safe_in_a_browser_and_asks_without_secrets_in_its_address(house: House) -> None:
    link = await house.link("olga")
    async with browsing() as browser:
        page = await browser.open(link)
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert (page.headers["x-frame-options"], page.headers["cache-control"]) == ("DENY", "no-store")
        assert (page.headers["referrer-policy"], "set-cookie" in page.headers) == ("same-origin", False)
        begun = await browser.http.post(link, data={"way": "login"})
        cookie = begun.headers["set-cookie"]
        assert ("HttpOnly" in cookie, "samesite=lax" in cookie.lower()) == (True, True)
        for headers, status in (
            ({"Host": "evil.example"}, 421),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://x"}, 403),
        ):
            assert (await browser.http.post(link, data={"way": "no"}, headers=headers)).status_code == status
        assert (await browser.http.post(link, data={"way": "local"})).status_code == 400
        assert (await browser.http.post(link, content=b"x" * 20_000)).status_code == 413
        base = link.rpartition("/")[0]
        assert (await browser.http.get(f"{base}/back?state=a&state=b")).status_code == 400
        assert (await browser.http.get(f"{base}/back")).status_code == 404
    assert {each["redirect_uri"] for each in house.oauth.seen("authorize")[1:]} == {f"{base}/back"}
    house.oauth.control(user="olga")
    assert "Connected" in await consents(house, await house.link("olga"), "olga")
    record = await house.everything()
    sent = [*house.oauth.seen("authorize"), *house.oauth.seen("token")]
    for name in ("state", "nonce", "code", "code_verifier"):
        assert not any(each[name] in record for each in sent if name in each), name
    assert link.rpartition("/")[2] not in record
    await house.gate.gateway.store.verify()


async def test_after_ten_minutes_a_page_has_had_its_time(house: House) -> None:
    waiting = await house.ask("petra")
    [question] = waiting["inputRequests"].values()
    house.oauth.control(user="petra")
    async with browsing() as browser:
        await browser.open(question["params"]["url"])
        browser.at = await browser.http.post(str(browser.at.url), data={"way": "login"})
        house.gate.clock.ms += 600_000
        assert (await browser.follow()).status_code == 404
        assert (await browser.open(question["params"]["url"])).status_code == 404
    again = await house.ask(
        "petra", requestState=(await house.ask("petra"))["requestState"], inputResponses={"x": {"action": "decline"}}
    )
    assert again["isError"]


async def test_whoever_sits_at_this_machine_connects_an_api_with_its_first_call(house: House) -> None:
    house.oauth.control(user="me")
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t0", "arguments": {}}}

    async def asked(context: Any, params: Any) -> ElicitResult:
        async with browsing() as browser:
            await browser.open(params.url)
            assert "Connected" in (await browser.press("local")).text
        return ElicitResult(action="accept")

    async with at_this_machine(house, "auto", asked) as client:
        result = await client.call_tool("notes_whose", message)
        assert isinstance(result, CallToolResult)
        assert (result.structured_content or {})["result"]["content"][0]["text"] == "me"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_whoever_sits_at_this_machine_consents_for_themselves_until_they_take_it_back(
    house: House, mode: str
) -> None:
    commands = Commands(house.gate.home)
    done = await asyncio.to_thread(commands.run, "credential", "disconnect", "mail")
    assert done.exit_code == 0, done.output
    house.gate.clock.ms += 1_000  # the disk is looked at once a second
    house.oauth.control(user="me")
    bot = await house.ask("", token=house.gate.tokens["bot"])
    assert "which its operator connects" in bot["content"][0]["text"]

    async def consent(url: str) -> None:
        async with browsing() as browser:
            await browser.open(url)
            assert "Connected" in (await browser.press("local")).text

    async def asked(context: Any, params: Any) -> ElicitResult:
        await consent(params.url)
        return ElicitResult(action="accept")

    async with at_this_machine(house, mode, asked) as client:
        if mode == "legacy":
            with pytest.raises(MCPError) as caught:
                await client.call_tool("mail_t1", {"mode": mode})
            await consent(url_of(caught.value)[0])
        assert text(await client.call_tool("mail_t1", {"mode": mode})) == "me"
    told = await house.told("")
    assert (told[-1]["what"], told[-1]["shown_by"]) == ("credential connected", "local user")


async def test_after_a_restart_everybody_starts_again(server: Authority, tmp_path: Path) -> None:
    server.control(reset=True)
    await connect_shared(server, tmp_path)
    server.control(user="rosa")
    async with house_in(tmp_path, server, bot="") as before:
        waiting = await before.ask("rosa")
        [question] = waiting["inputRequests"].values()
        async with browsing() as browser:
            page = await browser.open(question["params"]["url"])
            browser.at = await browser.http.post(str(page.url), data={"way": "login"})
            browser.at = await browser.http.get(browser.onward())
            came = browser.onward()
    async with house_in(tmp_path, server, bot="") as after, browsing() as browser:
        base = after.gate.url.removesuffix("/mcp")
        for path in (page.url.path, f"/-/{came.partition('/-/')[2]}"):
            late = await browser.open(f"{base}{path}")
            assert (late.status_code, "repeat what you asked for" in late.text) == (404, True)
            assert "until the gateway is started again" in late.text
        again = await after.ask("rosa", requestState=waiting["requestState"])
        [question] = again["inputRequests"].values()
        assert "Connected" in await consents(after, question["params"]["url"], "rosa")
