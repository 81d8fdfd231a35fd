"""A person follows the link of a call that waits, logs in, and decides: in a real browser, at any issuer."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.identity.tokens import Tokens
from gateway.model.clock import RandomIds
from gateway.store.ports import EventFilter
from tests.credentials.authority import SECRET, Authority
from tests.credentials.consenting import Browser, browsing
from tests.fixtures.chromium import Chromium
from tests.live.inside import Inside, call, code, inside
from tests.live.test_approvals import CONFIG, payment, with_pack

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOGINS = """
identity: {{ logins: [{{ issuer: "{url}", client_id: acme, client_secret: "{secret}" }}] }}
"""
HELPER = """
  helper: {{ auth: {{ jwt: {{ issuer: "{url}", audience: toolgate, subject: helper }} }}, allow: [] }}
workflows:"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(server: Authority, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("deciding")
    server.control(reset=True)
    config = CONFIG.replace("\nworkflows:", HELPER.format(url=server.url))
    config = config.replace("bob@acme.example: {", "bob@acme.example: { aliases: [bob],")
    async with inside(home, config + LOGINS.format(url=server.url, secret=SECRET)) as running:
        with_pack(home)
        assert await running.gateway.reload(running.gateway.config) == ""
        yield running


@pytest.fixture(autouse=True)
def as_new(server: Authority) -> None:
    server.control(redirect={}, id_token={}, user="bob")


async def waits(client: Any, made: dict[str, Any]) -> str:
    """Make a call that waits; return the link that its agent is given for a person."""
    told = await call(client, "payments_pay", made)
    assert code(told) == "needs_approval"
    return next(word for word in told.content[0].text.split() if word.startswith("http"))  # type: ignore[union-attr]


async def test_a_person_logs_in_on_their_phone_and_approves_with_the_keyboard_alone(
    gate: Inside, browser: Chromium, tmp_path: Path
) -> None:
    await browser.fresh(width=360, height=740)
    async with gate.client("modern") as client:
        made = payment(reference="x" * 300)
        link = await waits(client, made)
        assert "Log in at" in await browser.open(link)
        await browser.write("button[value=login]", "\n")
        said = await browser.until("wants to call payments.pay")
        assert "You are bob@acme.example (login at" in said
        assert made["reference"] in said.replace("\n", "")
        assert not await browser.is_cut_off()
        await browser.picture(tmp_path / "phone.png")
        await browser.write("form input[name=why]", "looks right\n")
        assert "looks right" in await browser.until("bob@acme.example approved")
        assert code(await call(client, "payments_pay", made)) == "ok"
        assert "Nothing waits for you" in await browser.open(link.rpartition("/")[0])


async def test_a_person_with_a_token_edits_and_refuses_in_their_browser(
    gate: Inside, browser: Chromium, tmp_path: Path
) -> None:
    await browser.fresh()
    token = (await Tokens(gate.gateway.store, gate.clock, RandomIds()).issue("person:bob@acme.example")).token
    async with gate.client("legacy") as client:
        made = payment()
        link = await waits(client, made)
        await browser.open(link)
        await browser.write("input[name=token]", f"{token}\n")
        await browser.until("wants to call payments.pay")
        await browser.press("summary")
        await browser.picture(tmp_path / "wide.png")
        await browser.write("textarea", "no JSON")
        await browser.press("button[value=edit]")
        assert "are no JSON" in await browser.until("Not done")
        await browser.open(link)
        await browser.press("button[value=deny]")
        assert "denied" not in await browser.text()  # the browser asks for a reason itself
        await browser.write("form:has(button[value=deny]) input[name=why]", "not today\n")
        await browser.until("bob@acme.example denied")
        assert "not today" in (await call(client, "payments_pay", made)).content[0].text  # type: ignore[union-attr]


_PLACES = """
const text = [...document.querySelectorAll('pre.exact bdi')].find(each => each.innerText.includes('12')).firstChild;
return [...text.data].map((_, at) => {
  const range = document.createRange();
  range.setStart(text, at);
  range.setEnd(text, at + 1);
  return range.getBoundingClientRect().left;
});
"""


async def test_letters_that_are_written_from_right_to_left_turn_nothing_around(gate: Inside, browser: Chromium) -> None:
    await browser.fresh()
    async with gate.client("modern") as client:
        link = await waits(client, payment(reference="\u05d0\u05d1 12 , 34 \u05d2 ) 5"))
    await browser.open(link)
    await browser.write("button[value=login]", "\n")
    await browser.until("As texts that are written from right to left read")
    places = await asyncio.to_thread(browser.driver.execute_script, _PLACES)
    assert places == sorted(places)


async def sent_to_log_in(browser: Browser, gate: Inside) -> str:
    """Press the button with which people log in; return where that was."""
    page = gate.url.replace("/mcp", "/-/approve")
    await browser.open(page)
    issuer = browser.at.text.partition('name="issuer" value="')[2].partition('"')[0]
    browser.at = await browser.http.post(page, data={"deed": "login", "issuer": issuer})
    return page


async def logged_in(browser: Browser, gate: Inside) -> str:
    """Log in with a browser at the pages; return what the last page says."""
    await sent_to_log_in(browser, gate)
    return (await browser.follow()).text


@pytest.mark.parametrize(
    "habit",
    [
        {"id_token": {"nonce": "another"}},
        {"id_token": {"aud": "somebody else"}},
        {"id_token": {"azp": "somebody else"}},
        {"id_token": {"iss": "https://evil.example"}},
        {"id_token": {"exp": 1}},
        {"user": "nobody we know"},
        {"redirect": {"state": "forged"}},
        {"redirect": {"iss": "https://evil.example"}},
        {"redirect": {"error": "access_denied"}},
    ],
)
async def test_a_login_that_does_not_prove_who_it_is_shows_nothing(
    gate: Inside, server: Authority, habit: dict[str, Any]
) -> None:
    server.control(**habit)
    async with browsing() as browser:
        said = await logged_in(browser, gate)
        assert "Not done" in said
        assert "Who are you?" in (await browser.open(gate.url.replace("/mcp", "/-/approve"))).text


async def test_a_login_that_was_begun_in_another_browser_counts_for_nothing(gate: Inside) -> None:
    async with browsing() as mine, browsing() as theirs:
        page = await sent_to_log_in(mine, gate)
        theirs.at = mine.at
        assert "begun in another browser" in (await theirs.follow()).text
        assert "Who are you?" in (await theirs.open(page)).text
    events = [each.body async for each in gate.gateway.store.events(EventFilter()) if each.kind == "admin"]
    assert any("another browser came back" in each for each in events)


async def test_a_login_that_took_too_long_counts_for_nothing(gate: Inside) -> None:
    async with browsing() as browser:
        await sent_to_log_in(browser, gate)
        gate.clock.ms += 600_000
        assert "has had its time" in (await browser.follow()).text


async def test_strangers_who_are_sent_to_log_in_push_nobody_out_and_have_the_issuer_asked_once(
    gate: Inside, server: Authority
) -> None:
    async with browsing() as mine, browsing() as theirs:
        page = await sent_to_log_in(mine, gate)
        asked = server.count()["metadata"]
        for _ in range(1001):
            sent = await theirs.http.post(page, data={"deed": "login", "issuer": server.url})
            theirs.http.cookies.clear()
        assert (sent.status_code, server.count()["metadata"]) == (200, asked)
        assert "You are <b><bdi>bob@acme.example" in (await mine.follow()).text


async def test_a_person_can_log_in_from_two_links_at_once_and_stays_who_they_are_meanwhile(gate: Inside) -> None:
    async with browsing() as browser:
        page = await sent_to_log_in(browser, gate)
        first = browser.at
        await sent_to_log_in(browser, gate)
        for tab in (first, browser.at):
            browser.at = tab
            assert "You are <b><bdi>bob@acme.example" in (await browser.follow()).text
        await browser.http.post(page, data={"deed": "login", "issuer": "https://nobody.example"})
        assert "You are <b><bdi>bob@acme.example" in (await browser.open(page)).text
        assert all(not name.startswith("toolgate-person-") for name in browser.http.cookies)


async def test_what_a_browser_keeps_of_a_login_leads_nowhere_else(gate: Inside) -> None:
    async with browsing() as browser:
        await sent_to_log_in(browser, gate)
        [cookie] = [each for each in browser.http.cookies.jar if each.name.startswith("toolgate-person-")]
        whole = b64decode(f"{cookie.value}==").replace(b" /-/approve", b" https://evil.example")
        cookie.value = b64encode(whole).decode().rstrip("=")
        assert "begun in another browser" in (await browser.follow()).text


async def test_an_issuer_that_does_not_answer_is_said_so(gate: Inside, server: Authority) -> None:
    async with browsing() as browser:
        gate.clock.ms += 300_000  # what it said before is believed for so long
        server.control(metadata={"authorization_endpoint": None})
        page = gate.url.replace("/mcp", "/-/approve")
        sent = await browser.http.post(page, data={"deed": "login", "issuer": server.url})
        assert sent.status_code == 503
        server.control(metadata={})


async def test_the_login_of_two_people_or_of_one_who_is_gone_is_nobodys(gate: Inside) -> None:
    async with browsing() as browser:
        assert "You are" in await logged_in(browser, gate)
        page = gate.url.replace("/mcp", "/-/approve")
        config = gate.gateway.config
        both = {name: one.model_copy(update={"aliases": ["bob"]}) for name, one in config.people.items()}
        await gate.gateway.reload(config.model_copy(update={"people": both}))
        assert "Who are you?" in (await browser.open(page)).text
        assert "none of the people" in await logged_in(browser, gate)
        await gate.gateway.reload(config)
        assert "You are" in await logged_in(browser, gate)
