"""When users are sent to a page, for how long, and what becomes of it when something goes wrong on the way."""

import asyncio
import html
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.connector import ITSELF, Behalf
from gateway.credentials.pages import Asker, NoPage, PageRefused, Pages, Visit
from gateway.identity.key_source import KeyRing
from gateway.identity.people import PeopleDoor
from gateway.identity.recognising import Known, Recognising
from gateway.identity.token_index import TokenIndex
from gateway.identity.tokens import Tokens
from gateway.model.errors import ConnectorFault, StoreFault
from gateway.store.memory import MemoryStore
from gateway.store.ports import Record
from gateway.transport.consent import ConsentPages
from tests.credentials.authority import Authority, Ring
from tests.credentials.test_consent import section_of
from tests.identity.doubles import CountingIds, agents

HERE = Asker("desk", local=True)
ALICE = Behalf("alice", "https://idp.example")


class Book:
    """A ledger that may be out of order."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.broken = False

    async def record(self, record: Record) -> None:
        if self.broken:
            raise StoreFault("The ledger cannot be written.")
        self.told.append(record.body)


class House:
    """Pages over a server whose users connect accounts. `people` are recognised by their tokens."""

    def __init__(self, keys: Ring, oauth: Authority) -> None:
        self.people: dict[str, tuple[str, ...]] = {}
        self.keys = keys
        self.book = Book()
        self.section = section_of(oauth)
        self.upstream = keys.build(self.section)
        self.store = MemoryStore(keys.clock)
        door = PeopleDoor(TokenIndex(self.store, keys.clock), keys.clock)
        jwt = {"issuer": ALICE.issuer, "audience": "gate", "subject": "jay"}
        known = Known([*agents(jay={"auth": {"jwt": jwt}}).values()], [], self.people, 30)
        self.recognises = Recognising(lambda: known, door, KeyRing(keys.clock), keys.clock)
        self.pages = Pages(keys.keeper, self.book, self.recognises, keys.clock)
        self.pages.site.serve_at("127.0.0.1", 8750, "")

    async def link(self) -> str:
        page = await self.pages.offer("oauth", ITSELF, HERE)
        return str(page["url"]).rpartition("/")[2]

    async def begun(self, browser: str) -> dict[str, str]:
        """Go on from a link in a browser, and consent; return what the browser comes back with."""
        url = await self.pages.begin(self.pages.find(await self.link()), browser, "local")
        async with httpx2.AsyncClient() as http:
            return dict(parse_qsl(urlsplit((await http.get(url)).headers["location"]).query))


@pytest.fixture
def house(keys: Ring, oauth: Authority) -> House:
    return House(keys, oauth)


def held_by(browser: str) -> Any:
    def browser_of(visit: Visit) -> str:
        del visit
        return browser

    return browser_of


@pytest.mark.parametrize(
    ("host", "public_url", "why"),
    [
        ("0.0.0.0", "", "no `server.public_url` with https"),
        ("127.0.0.1", "http://gate.example", "no `server.public_url` with https"),
        ("127.0.0.1", "https://gate.example", "its operator connects"),
        ("192.0.2.1", "http://127.0.0.1:8080", "its operator connects"),
    ],
)
async def test_the_link_alone_shows_who_somebody_is_on_this_machine_only(
    house: House, host: str, public_url: str, why: str
) -> None:
    pages = Pages(house.keys.keeper, house.book, house.recognises, house.keys.clock)
    pages.site.serve_at(host, 8750, public_url)
    with pytest.raises(NoPage, match=why):
        await pages.offer("oauth", ITSELF, HERE)
    assert pages.site.is_secure is public_url.startswith("https")
    assert house.book.told == []


async def test_who_cannot_be_recognised_is_sent_nowhere(house: House) -> None:
    for behalf, asker, why in ((ALICE, HERE, "identity.logins"), (ITSELF, Asker("bot"), "operator connects")):
        with pytest.raises(NoPage, match=why):
            await house.pages.offer("oauth", behalf, asker)


async def test_what_cannot_be_recorded_is_not_asked(house: House) -> None:
    house.book.broken = True
    with pytest.raises(StoreFault):
        await house.link()
    house.book.broken = False
    await house.link()
    assert [told["what"] for told in house.book.told] == ["consent asked"]


async def test_of_many_links_to_one_question_the_oldest_are_forgotten(house: House) -> None:
    links = []
    for number in range(9):
        links.append(await house.link())
        house.pages.find(links[-1]).browser = str(number)
    with pytest.raises(PageRefused, match="is over"):
        house.pages.find(links[0])
    assert house.pages.find(links[1]).browser == "1"
    assert len(house.book.told) == 1


async def test_so_many_users_are_asked_at_once_and_no_more(house: House) -> None:
    house.people |= {f"u{number}": (f"u{number}",) for number in range(1001)}
    for number in range(1000):
        await house.pages.offer("oauth", Behalf(f"u{number}", ALICE.issuer), Asker("bot"))
    with pytest.raises(NoPage, match="too many users"):
        await house.pages.offer("oauth", Behalf("u1000", ALICE.issuer), Asker("bot"))
    await house.pages.offer("oauth", Behalf("u0", ALICE.issuer), Asker("bot"))  # is asked already


async def test_a_repeat_waits_for_a_page_until_its_patience_or_the_gateway_ends(house: House) -> None:
    page = str((await house.pages.offer("oauth", ITSELF, HERE))["elicitationId"])
    await house.pages.settled(page, 0.001)
    await house.pages.settled("consent_of_before_the_restart", 60.0)
    waiting = asyncio.ensure_future(house.pages.settled(page, 60.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    house.pages.stop()
    await waiting


async def test_a_no_of_a_client_ends_the_question_once(house: House) -> None:
    page = str((await house.pages.offer("oauth", ITSELF, Asker("desk", "s1", local=True)))["elicitationId"])
    heard: list[Any] = []
    house.pages.told = lambda sessions, about: heard.append((sessions, about))
    for each in (page, page, "another"):
        await house.pages.declined(each)
    assert [told["what"] for told in house.book.told] == ["consent asked", "consent refused"]
    assert heard == [(frozenset({"s1"}), {"elicitationId": page})]
    await house.pages.settled(page, 60.0)
    with pytest.raises(NoPage, match="said no"):
        await house.link()


async def test_two_browsers_of_one_user_connect_one_account(house: House) -> None:
    first, second = await house.begun("first"), await house.begun("second")
    visit, onward = await house.pages.back(first, held_by("first"))
    assert (visit.pending.given, onward) == (True, "")
    with pytest.raises(PageRefused, match="is over"):
        await house.pages.back(second, held_by("second"))
    assert [told["what"] for told in house.book.told] == ["consent asked", "credential connected"]


async def test_an_answer_that_comes_while_another_is_looked_at_is_too_late(house: House) -> None:
    first, second = await house.begun("first"), await house.begun("second")
    came = await asyncio.gather(
        house.pages.back(first, held_by("first")), house.pages.back(second, held_by("second")), return_exceptions=True
    )
    [late] = [each for each in came if isinstance(each, PageRefused)]
    assert "answered already" in str(late)
    assert [told["what"] for told in house.book.told] == ["consent asked", "credential connected"]


async def test_a_consent_that_cannot_be_recorded_or_kept_is_none(house: House) -> None:
    came = await house.begun("mine")
    house.book.broken = True
    with pytest.raises(StoreFault):
        await house.pages.back(came, held_by("mine"))
    house.book.broken = False
    came = await house.begun("mine")
    folder = house.keys.folder / ".toolgate" / "credentials"
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder", "utf-8")
    with pytest.raises(PageRefused, match="Nothing was connected"):
        await house.pages.back(came, held_by("mine"))
    told = [each["what"] for each in house.book.told]
    assert told == ["consent asked", "credential connected", "credential disconnected", "consent page refused"]


@pytest.mark.parametrize(
    ("habits", "refused"),
    [
        ({"metadata_status": 503}, ConnectorFault),
        ({"metadata": {"code_challenge_methods_supported": []}}, ConnectorFault),
        ({"metadata": {"authorization_endpoint": ""}}, ConnectorFault),
        ({"metadata": {"registration_endpoint": ""}}, PageRefused),
    ],
    ids=str,
)
async def test_where_nobody_can_be_asked_safely_the_page_goes_nowhere(
    house: House, oauth: Authority, habits: dict[str, Any], refused: type[Exception]
) -> None:
    oauth.control(**habits)
    with pytest.raises(refused):
        await house.begun("mine")


async def test_a_server_to_which_users_no_longer_connect_asks_nobody(house: House) -> None:
    visit = house.pages.find(await house.link())
    assert house.pages.server_of(visit) == urlsplit(house.section["url"]).netloc
    house.keys.build({"url": house.section["url"], "headers": {"X": "y"}})
    assert house.pages.server_of(visit) == ""
    with pytest.raises(PageRefused, match="any more"):
        await house.pages.begin(visit, "mine", "local")


async def test_behind_a_public_address_the_browser_is_known_by_a_cookie_that_only_that_address_can_set(
    house: House, oauth: Authority
) -> None:
    house.people["alice"] = ("alice",)
    tokens = Tokens(house.store, house.keys.clock, CountingIds())
    own = (await tokens.issue("person:alice")).token
    house.pages.site.serve_at("0.0.0.0", 8750, "https://gate.example/mcp")
    page = str((await house.pages.offer("oauth", ALICE, Asker("bot")))["url"])
    assert page.startswith("https://gate.example/-/consent/")
    app = Starlette(routes=ConsentPages(house.pages).routes())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http:
        asked = await http.get(page)
        assert ("<b>bot</b>" in asked.text, "<b>alice</b>" in asked.text) == (True, True)
        begun = await http.post(page, data={"way": "token", "token": own})
        name, _, about = begun.headers["set-cookie"].partition("=")
        assert name.startswith("__Host-toolgate-consent_")
        assert all(word in about.lower() for word in ("secure", "httponly", "path=/;", "samesite=lax"))
        [onward] = re.findall(r'content="0;url=([^"]*)"', begun.text)
        async with httpx2.AsyncClient() as outside:
            came = (await outside.get(html.unescape(onward))).headers["location"]
        assert came.startswith("https://gate.example/-/consent/back?")
        assert "Connected" in (await http.get(came)).text
    [registration] = oauth.seen("register")
    assert (registration["application_type"], registration["redirect_uris"]) == (
        "web",
        ["https://gate.example/-/consent/back"],
    )
