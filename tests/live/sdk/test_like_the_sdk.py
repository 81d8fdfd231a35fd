"""The gateway answers as a server of the SDK does: the same requests, sent to both, in both eras."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.conformance.gateway import SERVER, configuration
from tests.live.inside import inside
from tests.live.running import LEGACY, ROOT
from tests.live.sdk.calling_off import called_off
from tests.live.sdk.differences import DIFFERENCES, folded
from tests.live.sdk.exchanges import ACCEPT, CASES, Place, exchanged, send


@contextmanager
def sdk_server() -> Iterator[str]:
    """Run the reference server, which speaks both eras; yield its URL."""
    command = [sys.executable, "-m", "tests.conformance.everything"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def opened(http: httpx2.AsyncClient, url: str, authorization: str = "") -> Place:
    """Open a session."""
    headers = {"accept": ACCEPT, "content-type": "application/json"}
    if authorization:
        headers["authorization"] = authorization
    said = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": said}
    reply = await http.post(url, json=body, headers=headers)
    session = reply.headers["mcp-session-id"]
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await http.post(url, json=ready, headers=headers | {"mcp-session-id": session, "mcp-protocol-version": LEGACY})
    return Place(url, authorization, session)


def reading_what_waits(server_url: str) -> dict[str, Any]:
    """Return a configuration in which the tool that waits is a read: an effect is carried out whoever has gone."""
    configured = configuration(server_url)
    return configured | {"tools": {f"{SERVER}.test_waiting": {"effect": "read"}, **configured["tools"]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def places(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[httpx2.AsyncClient, Place, Place]]:
    """A server of the SDK, and the gateway in front of one that is equal."""
    home: Path = tmp_path_factory.mktemp("like")
    with sdk_server() as url, sdk_server() as behind:
        async with (
            inside(home, json.dumps(reading_what_waits(behind))) as gate,
            httpx2.AsyncClient(timeout=30) as http,
        ):
            async with asyncio.timeout(30):
                while not gate.gateway.rules.current.catalog_at(SERVER).tools():
                    await asyncio.sleep(0.05)
            bearer = f"Bearer {gate.tokens['suite']}"
            yield http, await opened(http, url), await opened(http, f"{gate.url}/{SERVER}", bearer)


@pytest.mark.asyncio(loop_scope="module")
async def test_every_request_is_answered_as_the_sdk_does_or_for_a_reason_otherwise(
    places: tuple[httpx2.AsyncClient, Place, Place],
) -> None:
    http, direct, gated = places
    unexplained, used = [], []
    for case in CASES:  # in order: the last ones end the session
        sdk, gateway = folded(await send(http, direct, case)), folded(await send(http, gated, case))
        if sdk == gateway:
            continue
        reason = next((each for each in DIFFERENCES if each.explains(case, sdk, gateway)), None)
        used.append(reason)
        if reason is None:
            unexplained.append(f"{case.era}: {case.name}: the SDK says {sdk!r}, the gateway {gateway!r}")
    assert not unexplained, "\n".join(unexplained)
    assert [each.why for each in DIFFERENCES if each not in used] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_every_request_is_answered_on_the_short_way_as_on_the_long_one(
    places: tuple[httpx2.AsyncClient, Place, Place],
) -> None:
    http, _, gated = places
    place = await opened(http, gated.url, gated.authorization)
    posts = [case for case in CASES if case.verb == "POST" and case.name != "a call after DELETE"]
    for case in posts:
        long = await exchanged(http, place, case, trailer="none")  # a head with this one is always parsed
        await exchanged(http, place, case)
        short = await exchanged(http, place, case)
        assert plain(short) == plain(long), f"{case.era}: {case.name}"


def plain(reply: httpx2.Response) -> tuple[int, list[tuple[str, str]], str]:
    """Return a whole answer, without ids that are drawn anew and the notes that a call is made over and over."""

    def undrawn(text: str) -> str:
        text = re.sub(r',?"io.toolgate/loop":{[^}]*}', "", text).replace(',"_meta":{}', "")
        return re.sub(r"[0-9a-f]{32,}(\.[\w.-]+)?|(?<=^id: )[^.]+", "…", text, flags=re.MULTILINE)

    lines = reply.headers.multi_items()
    headers = [(name, undrawn(value)) for name, value in lines if name != "content-length"]
    return reply.status_code, headers, undrawn(reply.text)


def test_cases_have_names_of_their_own() -> None:
    names = [(case.era, case.name) for case in CASES]
    assert len(names) == len(set(names)) > 150
    for difference in DIFFERENCES:
        assert difference.why.endswith(".")
        for era, cases in difference.cases.items():
            assert {(era, name) for name in cases} <= set(names)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_call_is_called_off_as_with_the_sdk_and_on_the_short_way_as_on_the_long_one(
    places: tuple[httpx2.AsyncClient, Place, Place], era: str
) -> None:
    http, direct, gated = places
    direct, gated = await opened(http, direct.url), await opened(http, gated.url, gated.authorization)
    sdk = await called_off(http, direct, era, "direct")
    long = await called_off(http, gated, era, "long", trailer="none")
    first, short = await called_off(http, gated, era, "first"), await called_off(http, gated, era, "short")
    assert sdk.errors == ([-32800] if era == "legacy" else [])
    assert long == first == short == sdk
