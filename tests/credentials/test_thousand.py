"""A thousand calls with every kind of credential, through ends and a rotation: none fails, none renews twice.

OAuth client credentials are in test_client_credentials.py.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from gateway.connector import Behalf, ConnectorFault, Secret, ToolCall, Upstream
from tests.connectors.mcp.conftest import asked
from tests.credentials.authority import SECRET, Authority, Ring, said
from tests.credentials.test_consent import connect
from tests.credentials.test_kinds import certificate, follow, mutual, written
from tests.fixtures.fault_http import FaultServer

CALLS = 1000
TTL_S = 1.5
SIDE_BY_SIDE = 10
ALICE = Behalf("alice", "https://idp.example", Secret(jwt.encode({"sub": "alice"}, "k" * 32, algorithm="HS256")))
MINT = """
import base64, json, sys, urllib.parse, urllib.request
url, resource, secret = sys.argv[1:]
form = {"grant_type": "client_credentials", "resource": resource, "client_id": "acme", "client_secret": secret}
request = urllib.request.Request(url + "/token", urllib.parse.urlencode(form).encode())
answer = json.load(urllib.request.urlopen(request))
print(json.dumps({"token": answer["access_token"], "expires_in": answer["expires_in"]}))
"""


class Calls:
    """Calls side by side, each of which has to be answered."""

    def __init__(self, upstream: Upstream, behalf: Behalf | None = None) -> None:
        self.upstream = upstream
        self.behalf = behalf
        self.answers: list[str] = []

    async def until(self, enough: Callable[[], Awaitable[bool]]) -> None:
        while not await enough():
            await asyncio.gather(*(self._work(5, 0.01) for _ in range(SIDE_BY_SIDE)))

    async def rest(self) -> None:
        """Make those that are left of the thousand, and some more in any case."""
        left = max(CALLS - len(self.answers), 20 * SIDE_BY_SIDE)
        await asyncio.gather(*(self._work(left // SIDE_BY_SIDE + 1, 0) for _ in range(SIDE_BY_SIDE)))

    async def _work(self, calls: int, pause_s: float) -> None:
        for _ in range(calls):
            self.answers.append(await self._answer())
            await asyncio.sleep(pause_s)

    async def _answer(self) -> str:
        """On a busy machine the next token may be over too before it arrives: the gateway says to repeat the call."""
        while True:
            try:
                return await said(self.upstream, behalf=self.behalf)
            except ConnectorFault as fault:
                if not fault.retryable or fault.sent:
                    raise


async def passes(oauth: Authority, keys: Ring, calls: Calls, grant: str, who: str) -> None:
    """Have the calls pass three ends, each with one renewal by `grant`, then a rotation with one more."""
    before = oauth.count()[grant]

    async def three() -> bool:
        return (await asyncio.to_thread(oauth.count))[grant] - before >= 3

    await calls.until(three)
    ends = oauth.seen("left")[-3:]
    assert all(left < TTL_S / 2 for left in ends), ends  # one renewal for each end, and none before its time
    oauth.control(ttl_s=3600)

    async def long_lived() -> bool:
        return (await asyncio.to_thread(oauth.seen, "life"))[-1] == 3600

    await calls.until(long_lived)  # so that none comes to its end beside the rotation
    before = oauth.count()[grant]
    oauth.control(rotate=True)
    await calls.rest()
    assert oauth.count()[grant] - before == 1
    assert len(calls.answers) >= CALLS
    assert set(calls.answers) == {who}
    assert oauth.count()["calls"] == len(calls.answers)
    assert keys.events == []


async def test_with_an_account_of_a_user(oauth: Authority, keys: Ring) -> None:
    oauth.control(ttl_s=TTL_S)
    user = Behalf("alice", "https://idp.example")
    for each in (Behalf(), user):
        await connect(keys, oauth, each, client_id=None, client_secret=None)
    upstream = await keys.open(oauth.section("authorization_code", client_id=None, client_secret=None))
    await passes(oauth, keys, Calls(upstream, user), "refresh_token", "alice")


async def test_with_an_exchanged_token(oauth: Authority, keys: Ring) -> None:
    oauth.control(ttl_s=TTL_S)
    upstream = await keys.open(oauth.section("token_exchange"))
    grant = "urn:ietf:params:oauth:grant-type:token-exchange"
    assert await said(upstream, behalf=ALICE) == "exchanged:alice"
    calls = Calls(upstream, ALICE)
    calls.answers.append("exchanged:alice")
    await passes(oauth, keys, calls, grant, "exchanged:alice")


async def test_with_what_a_program_prints(oauth: Authority, keys: Ring, tmp_path: Path) -> None:
    oauth.control(ttl_s=TTL_S)
    (tmp_path / "mint.py").write_text(MINT)
    told = ["-I", "-S", str(tmp_path / "mint.py"), oauth.url, oauth.mcp, SECRET]
    auth = {"type": "command", "command": sys.executable, "args": told, "output": "json"}
    upstream = await keys.open({"url": oauth.mcp, "protocol": "legacy", "auth": auth})
    await passes(oauth, keys, Calls(upstream), "client_credentials", "acme")


async def test_with_a_token_that_something_else_keeps_fresh_in_a_file(
    oauth: Authority, keys: Ring, tmp_path: Path
) -> None:
    oauth.control(ttl_s=TTL_S)
    file, written_times = tmp_path / "svid.jwt", 0

    async def fresh() -> None:
        nonlocal written_times
        form = {"grant_type": "client_credentials", "resource": oauth.mcp, "client_id": "acme", "client_secret": SECRET}
        async with httpx2.AsyncClient(timeout=30) as http:
            token = (await http.post(f"{oauth.url}/token", data=form)).json()["access_token"]
        (tmp_path / "next").touch(mode=0o600)
        (tmp_path / "next").write_text(token)
        (tmp_path / "next").replace(file)
        written_times += 1

    async def keeps_fresh() -> None:
        while True:
            await fresh()
            await asyncio.sleep(TTL_S / 10)

    await fresh()
    keeping = asyncio.create_task(keeps_fresh())
    upstream = await keys.open(
        {"url": oauth.mcp, "protocol": "legacy", "auth": {"type": "jwt_file", "path": str(file)}}
    )
    calls = Calls(upstream)
    shown: set[str] = set()

    async def four_tokens() -> bool:
        shown.add(await said(upstream, tool="t11"))
        return len(shown) >= 4

    await calls.until(four_tokens)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    oauth.control(rotate=True, ttl_s=3600)
    await fresh()  # whoever rotates the keys replaces the file
    await calls.rest()
    assert len(calls.answers) >= CALLS
    assert set(calls.answers) == {"acme"}
    assert keys.events == []


async def test_with_written_headers_of_which_two_are_good_while_they_change(oauth: Authority, keys: Ring) -> None:
    values = [f"Bearer sk-static-{number}-4eC39HqLyjWDarjtT1" for number in range(5)]
    oauth.control(takes=values[:1])
    upstream = await keys.open(written(oauth, values[0]))
    calls = Calls(upstream)
    for old, new in pairwise(values):
        oauth.control(takes=[old, new])
        beside = asyncio.create_task(calls.rest())
        follow(keys, written(oauth, new))
        await beside
        oauth.control(takes=[new])
    await calls.rest()
    assert len(calls.answers) >= CALLS
    assert set(calls.answers) == {"static"}
    assert keys.events == []


async def test_with_a_certificate_that_is_replaced_file_by_file(keys: Ring, tmp_path: Path) -> None:
    async with FaultServer(tls=mutual(tmp_path)) as server:
        shown = {"type": "mtls", "cert_file": "own.crt", "key_file": "own.key"}
        section = {"url": server.url, "ca_file": str(tmp_path / "server.crt"), "auth": shown}
        replace(tmp_path, "gateway", ".crt", ".key")
        upstream = await keys.open(section)

        async def call(number: int) -> None:
            call: ToolCall = asked("echo", {"a": number})
            assert (await upstream.call(call))["content"]

        for name, parts in [("renewed", (".crt", ".key")), ("gateway", (".key", ".crt"))] * 2:
            for part in parts:
                replace(tmp_path, name, part)
                await upstream.close()  # so that the next call makes a connection
                await upstream.open()
                await asyncio.gather(*(call(number) for number in range(CALLS // 8)))
        assert keys.events == []


def replace(folder: Path, name: str, *parts: str) -> None:
    for part in parts:
        (folder / "next").touch(mode=0o600)
        (folder / "next").write_bytes((folder / f"{name}{part}").read_bytes())
        (folder / "next").replace(folder / f"own{part}")


async def test_a_certificate_that_never_fitted_is_refused(keys: Ring, tmp_path: Path) -> None:
    certificate(tmp_path, "gateway")
    certificate(tmp_path, "renewed")
    replace(tmp_path, "gateway", ".crt")
    replace(tmp_path, "renewed", ".key")
    shown: dict[str, Any] = {"type": "mtls", "cert_file": "own.crt", "key_file": "own.key"}
    upstream = keys.build({"url": "https://127.0.0.1:9/mcp", "auth": shown})
    with pytest.raises(ConnectorFault) as caught:
        await upstream.open()
    assert "MISMATCH" in caught.value.detail
