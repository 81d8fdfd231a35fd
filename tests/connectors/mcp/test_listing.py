"""A tool list is read whole, unchanged, and never without end."""

import asyncio
from typing import Any

import pytest

from connectors.mcp.era import Era
from connectors.mcp.listing import list_all
from gateway.connector import ConnectorFault
from tests.connectors.mcp.conftest import Start, asked, fault_of, text
from tests.fixtures.clock import FakeClock
from tests.fixtures.fault_http import Exchange, FaultServer

ERA = Era("2025-11-25", {"name": "toolgate", "version": "1"})


class Pages:
    """A wire that answers `tools/list` with what `page(cursor, number)` returns."""

    alive = True
    own_streams = False

    def __init__(self, page: Any) -> None:
        self._page = page
        self.asked: list[Any] = []

    async def request(self, method: str, params: Any, headers: bytes, timeout_s: float, ear: Any = None) -> Any:
        self.asked.append(params.get("cursor"))
        return self._page(params.get("cursor"), len(self.asked))

    async def notify(self, method: str, params: Any, headers: bytes) -> None: ...
    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def on_notice(self, listener: Any) -> None: ...
    def on_lost(self, listener: Any) -> None: ...
    def settle(self, headers: bytes, *, legacy: bool) -> None: ...


async def test_every_page_is_read_and_no_definition_is_touched() -> None:
    odd = {"name": "a", "inputSchema": {"$ref": "file:///etc/passwd"}, "x": None, "title": "A\u200b"}
    pages = {None: {"tools": [odd], "nextCursor": "2"}, "2": {"tools": [{"name": "b"}, {"name": "a"}]}}
    wire = Pages(lambda cursor, number: pages[cursor])
    assert await list_all("tools/list", wire, ERA, FakeClock(), 5.0) == [odd, {"name": "b"}, {"name": "a"}]
    assert wire.asked == [None, "2"]


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (lambda cursor, number: {"tools": [], "nextCursor": "same"}, "goes round in circles"),
        (lambda cursor, number: {"tools": [], "nextCursor": 7}, "goes round in circles"),
        (lambda cursor, number: {"tools": [], "nextCursor": str(number)}, "more than 100 pages"),
        (lambda cursor, number: {"tools": [{"name": "x" * 4_000_000}], "nextCursor": str(number)}, "too large"),
        (lambda cursor, number: {"tools": [{"name": "x"}] * 10_001}, "too large"),
        (lambda cursor, number: {"tools": ["x"]}, "out of shape"),
        (lambda cursor, number: {"tools": [{"name": 7}]}, "out of shape"),
        (lambda cursor, number: {"tools": {}}, "out of shape"),
        (lambda cursor, number: [], "out of shape"),
    ],
)
async def test_a_list_without_end_or_shape_is_refused(page: Any, why: str) -> None:
    with pytest.raises(ConnectorFault, match=why) as caught:
        await list_all("tools/list", Pages(page), ERA, FakeClock(), 5.0)
    assert caught.value.code == "contract_broken"


async def test_all_pages_together_have_one_deadline() -> None:
    clock = FakeClock()

    def slow(cursor: Any, number: int) -> Any:
        clock.passed += 2.0
        return {"tools": [], "nextCursor": str(number)}

    wire = Pages(slow)
    with pytest.raises(ConnectorFault) as caught:
        await list_all("tools/list", wire, ERA, clock, 5.0)
    assert (caught.value.code, len(wire.asked)) == ("timeout", 3)


async def test_a_list_that_hangs_ends_and_calls_go_on(start: Start) -> None:
    async def hang(exchange: Exchange) -> None:
        await asyncio.sleep(600)

    async with FaultServer(on_method={"tools/list": hang}) as server:
        upstream = await start({"url": server.url, "first_byte_timeout_s": 0.1})
        assert (await fault_of(upstream.tools())).code == "timeout"
        await upstream.call(asked("echo"))


async def test_a_list_that_nests_3000_deep_is_no_list_and_calls_go_on(start: Start) -> None:
    async def deep(exchange: Exchange) -> None:
        schema = b'{"not":' * 3000 + b"{}" + b"}" * 3000
        exchange.http(exchange.result(tools=[]).replace(b"[]", b'[{"name":"x","inputSchema":%b}]' % schema))

    async with FaultServer() as server:
        upstream = await start({"url": server.url})
        server.on_method["tools/list"] = deep
        assert (await fault_of(upstream.tools())).code == "contract_broken"
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}


async def test_a_server_that_refuses_to_list_says_so(start: Start) -> None:
    async def refuse(exchange: Exchange) -> None:
        exchange.http(b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32603,"message":"not today"}}' % exchange.id)

    async with FaultServer(on_method={"tools/list": refuse}) as server:
        upstream = await start({"url": server.url})
        fault = await fault_of(upstream.tools())
        assert (fault.code, "not today" in fault.message) == ("rejected", True)
