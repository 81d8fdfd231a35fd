"""Which era a server speaks is found out, remembered, and can be pinned."""

from collections import deque
from typing import Any

import pytest

from connectors.mcp.connection import Pace
from connectors.mcp.era import Era, Protocol, header_value, negotiate
from connectors.mcp.wire import RpcError
from gateway.connector import ConnectorFault
from tests.connectors.mcp.conftest import Start, asked, build, stdio, text
from tests.fixtures.fault_http import Exchange, FaultServer

CLIENT = {"name": "toolgate", "version": "1"}


class ScriptedWire:
    """Answers each method with a value, or raises it."""

    alive = True
    own_streams = False

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("_", "/"): answer for name, answer in answers.items()}
        self.sent: list[str] = []

    async def request(self, method: str, params: Any, headers: bytes, timeout_s: float, ear: Any = None) -> Any:
        self.sent.append(method)
        answer = self.answers[method]
        if isinstance(answer, deque):
            answer = answer.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def notify(self, method: str, params: Any, headers: bytes) -> None:
        self.sent.append(method)

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def on_notice(self, listener: Any) -> None: ...
    def on_lost(self, listener: Any) -> None: ...
    def settle(self, headers: bytes, *, legacy: bool) -> None: ...


LEGACY_HELLO = {"protocolVersion": "2025-03-26"}
MODERN_HELLO = {"supportedVersions": ["2026-07-28"]}


async def test_a_server_that_refuses_the_version_it_names_is_asked_once_more() -> None:
    refused = RpcError(-32022, "unsupported", {"supported": ["2026-07-28"]})
    wire = ScriptedWire(server_discover=deque([refused, MODERN_HELLO]))
    assert (await negotiate(wire, Protocol.AUTO, CLIENT, 1.0)).modern
    assert wire.sent == ["server/discover"] * 2
    with pytest.raises(RpcError):
        await negotiate(ScriptedWire(server_discover=deque([refused, refused])), Protocol.MODERN, CLIENT, 1.0)


@pytest.mark.parametrize(
    "probe",
    [
        RpcError(-32601, "Method not found"),
        RpcError(-32602, "Invalid request parameters"),
        RpcError(-32600, "HTTP status 400", status=400),
        RpcError(-32022, "unsupported", {"supported": ["2025-11-25"]}),
        RpcError(-32022, "unsupported", "no list"),
        {"supportedVersions": ["2025-11-25"]},
        {"supportedVersions": "2026-07-28"},
        "nonsense",
        ConnectorFault("HTTP 500"),
        ConnectorFault("HTML", code="contract_broken"),
    ],
)
async def test_a_server_that_does_not_answer_the_probe_as_a_modern_one_is_asked_to_initialize(probe: Any) -> None:
    wire = ScriptedWire(server_discover=probe, initialize=LEGACY_HELLO)
    era = await negotiate(wire, Protocol.AUTO, CLIENT, 1.0)
    assert (era.version, era.modern) == ("2025-03-26", False)
    assert wire.sent == ["server/discover", "initialize", "notifications/initialized"]


@pytest.mark.parametrize(
    "probe",
    [
        RpcError(-32022, "unsupported", {"supported": ["2027-01-01"]}),
        ConnectorFault("refused", sent=False),
        ConnectorFault("expired", code="credential_expired"),
        ConnectorFault("redirect", code="rejected"),
    ],
)
async def test_an_outage_or_a_bad_credential_says_nothing_about_the_era(probe: Exception) -> None:
    wire = ScriptedWire(server_discover=probe, initialize=LEGACY_HELLO)
    with pytest.raises(type(probe)) as caught:
        await negotiate(wire, Protocol.AUTO, CLIENT, 1.0)
    assert caught.value is probe
    assert wire.sent == ["server/discover"]


async def test_a_modern_server_is_not_asked_to_initialize() -> None:
    wire = ScriptedWire(server_discover=MODERN_HELLO)
    assert (await negotiate(wire, Protocol.AUTO, CLIENT, 1.0)).modern
    assert wire.sent == ["server/discover"]


@pytest.mark.parametrize(
    ("pinned", "sent"),
    [
        (Protocol.MODERN, ["server/discover"]),
        (Protocol.LEGACY, ["initialize", "notifications/initialized"]),
    ],
)
async def test_a_pinned_era_is_not_negotiated(pinned: Protocol, sent: list[str]) -> None:
    wire = ScriptedWire(server_discover=MODERN_HELLO, initialize=LEGACY_HELLO)
    await negotiate(wire, pinned, CLIENT, 1.0)
    assert wire.sent == sent


@pytest.mark.parametrize("hello", [{"protocolVersion": "1999-01-01"}, {}, [], {"protocolVersion": ["2025-11-25"]}])
async def test_a_legacy_server_of_no_known_version_is_refused(hello: Any) -> None:
    wire = ScriptedWire(initialize=hello)
    with pytest.raises(ConnectorFault, match="no protocol version known"):
        await negotiate(wire, Protocol.LEGACY, CLIENT, 1.0)


async def test_when_both_ways_fail_the_handshakes_reason_is_told() -> None:
    wire = ScriptedWire(server_discover=RpcError(-32601, "?"), initialize=RpcError(-32000, "not today"))
    with pytest.raises(RpcError, match="not today"):
        await negotiate(wire, Protocol.AUTO, CLIENT, 1.0)


async def test_a_legacy_server_that_leaves_the_probe_unanswered_is_found(start: Start) -> None:
    upstream = build(stdio("legacy", "mute-probe"))
    upstream._terms.pace = Pace(probe_s=0.05)  # type: ignore[attr-defined]
    await upstream.open()
    result = await upstream.call(asked("params"))
    await upstream.close()
    assert "_meta" not in result["content"][0]["text"]


async def test_a_modern_server_that_is_slow_to_start_is_found() -> None:
    upstream = build(stdio("modern", "late-probe"))
    upstream._terms.pace = Pace(probe_s=0.05)  # type: ignore[attr-defined]
    await upstream.open()
    result = await upstream.call(asked("params"))
    await upstream.close()
    assert "io.modelcontextprotocol/protocolVersion" in result["content"][0]["text"]


async def test_the_era_of_a_server_is_remembered_until_it_no_longer_holds(start: Start) -> None:
    async with FaultServer(era="legacy") as server:
        upstream = await start({"url": server.url})
        server.sessions.clear()
        await upstream.call(asked("echo"))
        assert len(server.methods("server/discover")) == 1
        assert len(server.methods("initialize")) == 2


async def test_a_server_that_changed_its_era_is_found_at_once(start: Start) -> None:
    async with FaultServer(era="legacy") as server:

        async def come_back(exchange: Exchange) -> None:
            server.era = "modern"
            del server.on_method["tools/call"]
            exchange.http(b"", "404 Not Found")

        upstream = await start({"url": server.url})
        await upstream.call(asked("echo"))
        server.on_method["tools/call"] = come_back
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
        assert [seen.message["method"] for seen in server.seen[-4:]] == [
            "tools/call", "initialize", "server/discover", "tools/call"
        ]  # fmt: skip


async def test_a_server_that_ends_at_the_probe_is_started_again_and_asked_to_initialize(start: Start) -> None:
    upstream = await start(stdio("legacy", "die-at-probe"))
    [first] = text(await upstream.call(asked("pids")))
    with pytest.raises(ConnectorFault):
        await upstream.call(asked("crash"))
    [second] = text(await upstream.call(asked("pids")))
    assert first != second


def test_header_values_that_http_cannot_carry_are_encoded() -> None:
    assert header_value("pay.now") == "pay.now"
    assert header_value("zürich") == "=?base64?esO8cmljaA==?="
    for odd in ("", " x", "a\r\nb", "=?base64?eA==?="):
        assert odd == "" or header_value(odd).startswith("=?base64?")


def test_only_modern_requests_carry_routing_headers() -> None:
    legacy, modern = Era("2025-06-18", CLIENT), Era("2026-07-28", CLIENT)
    assert legacy.headers("tools/call", "pay", {"Mcp-Param-A": "1"}) == b"MCP-Protocol-Version: 2025-06-18\r\n"
    assert modern.headers("tools/call", "pay", {"Mcp-Param-A": "1"}) == (
        b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: pay\r\nMcp-Param-A: 1\r\n"
    )
