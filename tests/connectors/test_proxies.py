"""Out through a real proxy, by SOCKS5 and by HTTP CONNECT: everything of a server goes through it, or not at all."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pproxy
import pytest
from pydantic import ValidationError

from connectors.egress import Egress, EgressConfig, EgressRefused, EgressRule, Target
from connectors.mcp.config import HttpServer
from connectors.rest.exchange import Exchange, Request
from gateway.connector import ConnectorFault, Secret, Surroundings, ToolCall, Tunnel, Upstream
from gateway.connector.registry import build_upstream, load_connectors
from tests.connectors.email.test_email import mail_server
from tests.connectors.mcp.test_config import certificate
from tests.connectors.rest.api import Api, answer
from tests.connectors.rest.building import http_section
from tests.connectors.webhook.test_webhook import section as webhook_section
from tests.credentials.authority import authority, ring, said
from tests.fixtures.fault_http import FaultServer

USER = "vpn:p%40ss-of-the-proxy"


class Proxy:
    """A running proxy that speaks both ways on one port; `led_to` is where it was asked to go."""

    def __init__(self) -> None:
        self.led_to: list[str] = []

    async def __aenter__(self) -> "Proxy":
        serving = {"rserver": [pproxy.Connection("direct")], "verbose": self.led_to.append, "authtime": -1}
        self._server = await pproxy.Server("http+socks5://127.0.0.1:0#vpn:p@ss-of-the-proxy").start_server(serving)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def url(self, scheme: str, user: str = USER) -> str:
        return f"{scheme}://{user}@127.0.0.1:{self.port}"

    def led(self, port: int) -> bool:
        return any(line.endswith(f":{port}") for line in self.led_to)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with Proxy() as running:
        yield running


@pytest.fixture(params=["socks5", "http"])
def way(request: pytest.FixtureRequest, proxy: Proxy) -> str:
    return proxy.url(request.param)


def built(section: dict[str, Any]) -> Upstream:
    return build_upstream("far", section, load_connectors(), Surroundings(), environ={})


async def called(upstream: Upstream, tool: str, arguments: dict[str, Any] | None = None) -> Any:
    await upstream.open()
    try:
        return await upstream.call(ToolCall(tool, arguments or {}, "call_far", timeout_s=20.0))
    finally:
        await upstream.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_an_mcp_server_is_called_through_its_proxy(
    proxy: Proxy, way: str, encrypted: bool, tmp_path: Path
) -> None:
    pem, context = certificate(tmp_path)
    async with FaultServer(tls=context if encrypted else None) as server:
        trust = {"ca_file": str(pem)} if encrypted else {}
        upstream = built({"url": server.url, "egress": {"proxy": way}, **trust})
        assert await called(upstream, "echo", {"text": "hello"})
        assert proxy.led(server.port)
        assert server.connections == len(proxy.led_to)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_an_api_is_called_through_its_proxy_over_one_kept_connection(
    proxy: Proxy, way: str, encrypted: bool, tmp_path: Path
) -> None:
    pem, context = certificate(tmp_path)
    async with Api(context if encrypted else None) as api:
        api.on("GET /v1/find", answer({"ok": True}))
        trust = {"ca_file": str(pem)} if encrypted else {}
        upstream = built(http_section(api, egress={"proxy": way, **trust}))
        await upstream.open()
        for _ in range(3):
            result = await upstream.call(ToolCall("find", {}, "call_far", timeout_s=20.0))
            assert result["structuredContent"] == {"ok": True}
        await upstream.close()
        assert len(proxy.led_to) == api.connections == 1
        assert proxy.led(api.port)


async def test_the_name_of_a_host_is_looked_up_by_the_proxy(proxy: Proxy, way: str) -> None:
    async with Api() as api:
        api.on("GET /", answer({"ok": True}))
        settings = EgressConfig(proxy=Secret(way), allow_private=("localhost",))
        exchange = Exchange(Egress([EgressRule(host="localhost")], ("localhost",)), settings, 1024, _nobody_knows)
        found = await exchange.send(Request("GET", Target.read(f"http://localhost:{api.port}/")), 20.0)
        await exchange.close()
        assert found.status == 200
        assert any(line.endswith(f" localhost:{api.port}") for line in proxy.led_to)


async def _nobody_knows(host: str, port: int) -> list[str]:
    raise OSError(f"{host} is looked up here")


async def test_an_address_that_is_not_allowed_is_not_reached_through_a_proxy_either(proxy: Proxy, way: str) -> None:
    settings = EgressConfig(proxy=Secret(way))
    exchange = Exchange(Egress([EgressRule(host="169.254.169.254")]), settings, 1024)
    with pytest.raises(EgressRefused):
        await exchange.send(Request("GET", Target.read("http://169.254.169.254/latest")), 20.0)
    await exchange.close()
    assert not proxy.led_to


async def test_a_message_and_a_mail_go_out_through_their_proxy(proxy: Proxy, way: str, tmp_path: Path) -> None:
    async with Api() as api:
        api.on("POST /in", answer(b"", "204 No Content", None))
        hooks = {**webhook_section(f"{api.url}/in"), "connector": "webhook", "proxy": way}
        result = await called(built(hooks), "send_deploys", {"data": {"v": 1}})
        assert result["structuredContent"]["status"] == 204
        assert proxy.led(api.port)
    with mail_server(tmp_path, "starttls") as mailbox:
        section = {**mailbox.section(), "connector": "email"}
        section["network"] = {**section["network"], "proxy": way}
        mail = {"to": ["ann@partner.example"], "subject": "Hello", "text": "there"}
        await called(built(section), "send", mail)
        assert len(mailbox.kept) == 1
        assert proxy.led(mailbox.port)


async def test_an_authorization_server_is_asked_through_the_proxy_of_its_server(
    proxy: Proxy, way: str, tmp_path: Path
) -> None:
    with authority() as oauth:
        async with ring(tmp_path) as keys:
            upstream = await keys.open({**oauth.section(issuer=None), "egress": {"proxy": way}})
            assert await said(upstream) == "acme"
        asked = oauth.count()
        assert len(proxy.led_to) > asked["metadata"] + asked["token"] == 2  # each on a connection of its own


@pytest.mark.parametrize("scheme", ["socks5", "http"])
@pytest.mark.parametrize("trouble", ["wrong password", "nobody there", "silent", "nonsense", "refusal"])
async def test_without_its_proxy_nothing_is_sent_and_the_password_is_not_told(
    proxy: Proxy, scheme: str, trouble: str
) -> None:
    refusal = b"\x05\xff" if scheme == "socks5" else b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
    says = {"silent": b"", "refusal": refusal}.get(trouble, b"\x09" * 60 + b"\r\n\r\n")
    async with Api() as api, _Odd(says) as odd:
        api.on("POST /v1/make", answer({"ok": True}))
        url = {
            "wrong password": proxy.url(scheme, "vpn:secret-guess"),
            "nobody there": f"{scheme}://vpn:secret-guess@127.0.0.1:{_unused()}",
        }.get(trouble, f"{scheme}://vpn:secret-guess@127.0.0.1:{odd}")
        upstreams = [
            built(http_section(api, egress={"proxy": url, "connect_timeout_s": 0.5})),
            built({"url": f"{api.url}/mcp", "egress": {"proxy": url, "connect_timeout_s": 0.5}}),
        ]
        for upstream in upstreams:
            with pytest.raises(ConnectorFault) as caught:
                await called(upstream, "make")
            fault = caught.value
            assert fault.code in {"unavailable", "timeout"}
            assert not fault.sent
            assert "secret-guess" not in f"{fault.message} {fault.detail} {fault!r}"
        assert not api.seen


async def test_an_answer_to_connect_may_come_in_pieces_and_the_other_side_may_speak_at_once() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in (b"HTTP/1.1 200 Fi", b"ne\r\nVia: 1.1 far\r", b"\n\r\n220 mail.example\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.close()

    asked: list[bytes] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        stream = await Tunnel(Secret(f"http://a%3Ab:c%40@127.0.0.1:{port}")).stream("2001:db8::1", 25)
        said = b""
        while piece := await stream.read(100, 5.0):
            said += piece
        await stream.aclose()
    assert said == b"220 mail.example\r\n"
    assert asked == [
        b"CONNECT [2001:db8::1]:25 HTTP/1.1\r\nHost: [2001:db8::1]:25\r\nProxy-Authorization: Basic YTpiOmNA\r\n\r\n"
    ]


class _Odd:
    """Something that is no proxy: says the same to everybody."""

    def __init__(self, says: bytes) -> None:
        self._says = says

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._says)
        await reader.read()
        writer.close()


def _unused() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [
        "socks4://127.0.0.1:1080",
        "https://127.0.0.1:1080",
        "socks5://127.0.0.1",
        "socks5://127.0.0.1:0",
        "socks5://127.0.0.1:99999",
        "socks5://:1080",
        "socks5://user@127.0.0.1:1080",
        "socks5://127.0.0.1:1080/path",
        "http://127.0.0.1:1080?x=1",
        "http://127.0.0.1 :1080",
        "127.0.0.1:1080",
        "",
    ],
)
def test_what_is_no_proxy_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpServer.model_validate({"url": "https://far.example/mcp", "egress": {"proxy": url}})
    assert "egress.proxy" in str(caught.value)
    assert not url or url not in str(caught.value)
