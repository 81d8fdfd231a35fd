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
    assert "Go back to your assistant" in await browser.until("Connected")
    assert [each["what"] for each in await house.told("wilma")] == ["consent asked", "credential connected"]
