"""Users consent on the gateway's pages in a real browser, with its own rules for cookies, forms and origins."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp.types import CallToolResult, ElicitResult

from tests.credentials.authority import Authority
from tests.credentials.consenting import House, connect_shared, house_in
from tests.fixtures.chromium import Chromium

pytestmark = pytest.mark.asyncio(loop_scope="module")
PHONE = {"width": 360, "height": 740}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(server: Authority, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    home: Path = tmp_path_factory.mktemp("browser")
    server.control(reset=True)
    await connect_shared(server, home)
    async with house_in(home, server) as running:
        yield running


async def test_a_user_logs_in_and_consents_in_their_browser_and_the_call_goes_on(
    house: House, browser: Chromium
) -> None:
    await browser.fresh()
    house.oauth.control(user="wilma")
    seen: list[str] = []

    async def asked(context: Any, params: Any) -> ElicitResult:
        seen.append(await browser.open(params.url))
        await browser.press("button[value=login]")
        return ElicitResult(action="accept")  # the page is open, and no more is known

    async with house.client("wilma", elicitation_callback=asked) as client:
        result = await client.call_tool("mail_t0", {})
    assert isinstance(result, CallToolResult)
    assert result.content[0].text == "wilma"  # type: ignore[union-attr]
    assert not await browser.is_cut_off()
    assert "The agent helper needs the account of wilma at mail" in seen[0]
    assert "act for you at mail. Go back to your assistant." in await browser.until("Connected")
    assert not await browser.is_cut_off()
    assert [each["what"] for each in await house.told("wilma")] == ["consent asked", "credential connected"]


@pytest.mark.parametrize(
    "user", ["w" * 120, "mallory-\u05d0\u05d1\u05d2-helper", "bob <b>at bank</b> & sons"], ids=ascii
)
async def test_a_page_shows_a_phone_all_of_a_name_as_it_is(house: House, browser: Chromium, user: str) -> None:
    await browser.fresh(**PHONE)
    said = await browser.open(await house.link(user))
    assert not await browser.is_cut_off()
    assert f"The agent helper needs the account of {user} at mail (127.0.0.1" in said


async def test_a_link_of_before_a_restart_says_what_to_do_and_the_repeat_gives_a_new_one(
    server: Authority, browser: Chromium, tmp_path: Path
) -> None:
    server.control(reset=True)
    await connect_shared(server, tmp_path)
    server.control(user="xenia")
    async with house_in(tmp_path, server, bot="") as before:
        waiting = await before.ask("xenia")
        [question] = waiting["inputRequests"].values()
        await browser.fresh()
        await browser.open(question["params"]["url"])
    async with house_in(tmp_path, server, bot="") as after:
        old = question["params"]["url"].partition("/-/")[2]
        said = await browser.open(f"{after.gate.url.removesuffix('/mcp')}/-/{old}")
        assert "until the gateway is started again" in said
        again = await after.ask("xenia", requestState=waiting["requestState"])
        [question] = again["inputRequests"].values()
        await browser.open(question["params"]["url"])
        await browser.press("button[value=login]")
        await browser.until("Connected")
        assert (await after.ask("xenia"))["content"][0]["text"] == "xenia"
