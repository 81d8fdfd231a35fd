"""A server over Streamable HTTP: whatever goes wrong on one exchange ends that one, in time, with a clear fault."""

import asyncio
import json
import socket
import tracemalloc
from typing import Any

import pytest

from gateway.connector import ConnectorFault
from tests.connectors.mcp.conftest import Start, asked, build, fault_of, text
from tests.fixtures import http_faults as faults
from tests.fixtures.fault_http import Exchange, FaultServer

ERAS = ["modern", "legacy"]
MANY = 8
LARGE = 1_000_000


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_is_answered_in_either_era_over_one_kept_connection(start: Start, era: str) -> None:
    async with FaultServer(era) as server:
        upstream = await start({"url": server.url, "headers": {"Authorization": "Bearer t0ken-value"}})
        assert await upstream.tools() == server.tools
        for n in range(5):
            assert text(await upstream.call(asked("echo", {"n": n}))) == {"n": n}
        assert server.connections == (1 if era == "modern" else 2)  # a legacy session keeps a stream of its own open
        assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer t0ken-value"}
        assert {seen.headers["accept-encoding"] for seen in server.seen} == {"identity"}


async def test_a_connection_at_rest_keeps_nothing_of_the_answer_before(start: Start) -> None:
    async def large(exchange: Exchange) -> None:
        exchange.answer(exchange.result(content=[{"type": "text", "text": "x" * LARGE}]))

    async with FaultServer("modern", {"large": large}) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("echo"))
        tracemalloc.start()
        try:
            await asyncio.gather(*(upstream.call(asked("large")) for _ in range(MANY)))
            await asyncio.sleep(0)  # the loop knows what it was woken by, and that what it came to
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert server.connections >= MANY
    assert kept < MANY * LARGE / 4


async def moved(era: str, url: str, location: str, status: str) -> tuple[Any, list[str]]:
    """Reach a server that redirects once; return what a call came to, and which targets were asked for."""

    async def elsewhere(exchange: Exchange) -> None:
        del exchange.server.on_method[exchange.seen.message["method"]]
        there = location.replace("HERE", f"http://127.0.0.1:{exchange.server.port}")
        exchange.http(b"", status, f"Location: {there}")

    first = "server/discover" if era == "modern" else "initialize"
    async with FaultServer(era, on_method={first: elsewhere}) as server:
        upstream = build({"url": f"http://127.0.0.1:{server.port}{url}"})
        try:
            await upstream.open()
            came_to = text(await upstream.call(asked("echo", {"n": 1})))
        except ConnectorFault as fault:
            came_to = fault.code
        finally:
            await upstream.close()
        return came_to, [seen.target for seen in server.seen]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("url", "location", "status"),
    [
        ("/mcp", "/mcp/", "307 Temporary Redirect"),
        ("/mcp", "HERE/mcp/", "308 Permanent Redirect"),
        ("/mcp/?key=1", "HERE/mcp?key=1", "307 Temporary Redirect"),
        ("/mcp", "https://127.0.0.1/mcp/", "307 Temporary Redirect"),  # it does not know of the TLS in front of it
    ],
)
async def test_a_server_that_wants_a_slash_more_or_less_at_the_end_is_reached_as_it_wants(
    era: str, url: str, location: str, status: str
) -> None:
    came_to, targets = await moved(era, url, location, status)
    assert came_to == {"n": 1}
    wanted = "/mcp?key=1" if "key" in url else "/mcp/"
    assert targets[targets.index(wanted) :] == [wanted] * targets.count(wanted)
    assert targets.count(wanted) >= 2


@pytest.mark.parametrize(
    ("url", "location", "status"),
    [
        ("/mcp", "HERE/mcp/v2", "307 Temporary Redirect"),
        ("/mcp", "HERE/mcp/?to=evil", "307 Temporary Redirect"),
        ("/mcp", "http://169.254.169.254/mcp/", "307 Temporary Redirect"),
        ("/mcp", "http://[/mcp/", "307 Temporary Redirect"),
        ("/mcp", "/mcp/\u00e9", "307 Temporary Redirect"),
        ("/mcp", "/mcp/", "302 Found"),
        ("/", "HERE", "307 Temporary Redirect"),
    ],
)
async def test_no_other_redirect_is_followed(url: str, location: str, status: str) -> None:
    came_to, targets = await moved("modern", url, location, status)
    assert (came_to, targets) == ("rejected", [url])


async def test_a_call_is_not_sent_again_wherever_it_is_redirected_to(start: Start) -> None:
    async def away(exchange: Exchange) -> None:
        exchange.http(b"", "307 Temporary Redirect", "Location: /mcp/")

    async with FaultServer(faults={"away": away}) as server:
        upstream = await start({"url": server.url})
        assert (await fault_of(upstream.call(asked("away")))).code == "rejected"
        assert len(server.calls("away")) == 1


async def test_a_modern_call_says_in_headers_what_it_says_in_its_body(start: Start) -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    bad = {"type": "object", "properties": {"x": {"type": "object", "x-mcp-header": "X"}}}
    tools = [{"name": "zürich", "inputSchema": schema}, {"name": "plain"}, {"name": "bad", "inputSchema": bad}]
    async with FaultServer(tools=tools) as server:
        upstream = await start({"url": server.url})
        await upstream.tools()
        await upstream.call(asked("zürich", {"region": "eu\r\nX: y"}))
        [call] = server.calls("zürich")
        assert call.headers["mcp-protocol-version"] == "2026-07-28"
        assert call.headers["mcp-method"] == "tools/call"
        assert call.headers["mcp-name"] == "=?base64?esO8cmljaA==?="
        assert call.headers["mcp-param-region"] == "=?base64?ZXUNClg6IHk=?="
        await upstream.call(asked("bad", {"x": {}}))
        assert not [name for name in server.calls("bad")[0].headers if name.startswith("mcp-param")]
        assert "mcp-session-id" not in call.headers


async def test_a_tool_not_yet_listed_is_listed_when_the_server_misses_its_headers(start: Start) -> None:
    async def strict(exchange: Exchange) -> None:
        if "mcp-param-region" in exchange.seen.headers:
            exchange.http(exchange.echo())
        else:
            error = {"jsonrpc": "2.0", "id": exchange.id, "error": {"code": -32020, "message": "header mismatch"}}
            exchange.http(json.dumps(error).encode(), "400 Bad Request")

    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    async with FaultServer(tools=[{"name": "strict", "inputSchema": schema}], faults={"strict": strict}) as server:
        upstream = await start({"url": server.url})
        assert text(await upstream.call(asked("strict", {"region": "eu"}))) == {"region": "eu"}
        fault = await fault_of(upstream.call(asked("strict", {})))
        assert (fault.code, len(server.methods("tools/list"))) == ("rejected", 1)


async def test_a_legacy_session_is_kept_and_ended(start: Start) -> None:
    async with FaultServer("legacy", version="2025-06-18") as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("echo"))
        [call] = server.calls("echo")
        assert (call.headers["mcp-session-id"], call.headers["mcp-protocol-version"]) == ("session-1", "2025-06-18")
        assert server.methods("notifications/initialized")[0].headers["mcp-session-id"] == "session-1"
        await upstream.close()
        assert server.seen[-1].verb == "DELETE"
        assert server.sessions == set()


async def test_a_lost_session_is_made_anew_once_for_all_calls_that_lost_it(start: Start) -> None:
    async with FaultServer("legacy") as server:
        upstream = await start({"url": server.url})
        server.sessions.clear()
        results = await asyncio.gather(*(upstream.call(asked("echo", {"n": n})) for n in range(10)))
        assert [text(result)["n"] for result in results] == list(range(10))
        assert len(server.methods("initialize")) == 2


async def test_a_session_that_is_lost_again_at_once_is_a_fault(start: Start) -> None:
    async def forget(exchange: Exchange) -> None:
        exchange.http(b'{"error":"No valid session ID"}', "400 Bad Request")

    async with FaultServer("legacy", faults={"forget": forget}) as server:
        upstream = await start({"url": server.url})
        fault = await fault_of(upstream.call(asked("forget")))
        assert (fault.code, len(server.calls("forget"))) == ("rejected", 2)


async def test_a_failed_new_session_does_not_touch_calls_in_flight(start: Start) -> None:
    release = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await release.wait()
        exchange.http(exchange.echo())

    async def fail(exchange: Exchange) -> None:
        exchange.http(b"", "500 Internal Server Error")

    async with FaultServer("legacy", faults={"slow": slow}) as server:
        upstream = await start({"url": server.url})
        flying = asyncio.ensure_future(upstream.call(asked("slow", {"n": 1})))
        while not server.calls("slow"):
            await asyncio.sleep(0)
        server.sessions.clear()
        server.on_method["initialize"] = fail
        assert not (await fault_of(upstream.call(asked("echo")))).sent
        release.set()
        assert text(await flying) == {"n": 1}


async def test_a_streamed_answer_leaves_its_connection_usable(start: Start) -> None:
    async with FaultServer(faults={"odd": faults.streamed}) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("odd"))
        while not upstream._shared.wire._client._idle:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        await upstream.call(asked("echo"))
        assert server.connections == 1


async def test_bytes_nobody_asked_for_cost_the_connection_and_nothing_else(start: Start) -> None:
    async def chatty(exchange: Exchange) -> None:
        exchange.http(exchange.echo())
        await exchange.writer.drain()
        await asyncio.sleep(0.02)
        exchange.http(exchange.result(content=[{"type": "text", "text": '"of another"'}]))

    async with FaultServer(faults={"chatty": chatty}) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("chatty"))
        pool = upstream._shared.wire._client._idle  # type: ignore[attr-defined]
        while pool:
            await asyncio.sleep(0.001)
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
        assert server.connections == 2


async def test_a_cancelled_legacy_call_is_cancelled_at_the_server_and_others_go_on(start: Start) -> None:
    async with FaultServer("legacy", faults={"hang": faults.hang}) as server:
        upstream = await start({"url": server.url})
        doomed = asyncio.ensure_future(upstream.call(asked("hang")))
        while not server.calls("hang"):
            await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        while not server.methods("notifications/cancelled"):
            await asyncio.sleep(0)
        told = server.methods("notifications/cancelled")[0].message["params"]
        assert told["requestId"] == server.calls("hang")[0].message["id"]
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}


async def test_a_cancelled_call_is_cancelled_at_a_legacy_server_without_sessions_too(start: Start) -> None:
    async def hello(exchange: Exchange) -> None:
        exchange.http(exchange.result(protocolVersion="2025-11-25", capabilities={}))

    async def unknown(exchange: Exchange) -> None:
        exchange.http(exchange.error(-32601, "Method not found"))

    methods = {"server/discover": unknown, "initialize": hello}
    async with FaultServer(faults={"hang": faults.hang}, on_method=methods) as server:
        upstream = await start({"url": server.url})
        assert (await fault_of(upstream.call(asked("hang", timeout_s=0.05)))).code == "timeout"
        while not server.methods("notifications/cancelled"):
            await asyncio.sleep(0)
        assert not [seen for seen in server.seen if seen.verb == "GET" or "mcp-session-id" in seen.headers]


async def test_a_cancelled_modern_call_closes_its_connection(start: Start) -> None:
    async with FaultServer(faults={"hang": faults.hang}) as server:
        upstream = await start({"url": server.url})
        doomed = asyncio.ensure_future(upstream.call(asked("hang")))
        while not server.calls("hang"):
            await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
        assert not server.methods("notifications/cancelled")
        assert server.calls("echo")[0].connection != server.calls("hang")[0].connection


async def test_a_legacy_servers_own_requests_are_answered_on_the_side(start: Start) -> None:
    async def ask(exchange: Exchange) -> None:
        exchange.stream()
        for number, method in enumerate(("ping", "elicitation/create")):
            message = {"jsonrpc": "2.0", "id": f"s{number}", "method": method}
            exchange.chunk(f"data: {json.dumps(message)}\n\n".encode())
        exchange.chunk(b'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n')
        await exchange.writer.drain()
        while len(exchange.server.answers()) < 2:
            await asyncio.sleep(0)
        exchange.chunk(b"data: " + exchange.echo() + b"\n\n")
        exchange.chunk(b"")

    async with FaultServer("legacy", faults={"ask": ask}) as server:
        upstream = await start({"url": server.url})
        changes: list[int] = []
        upstream.on_notice(lambda *_: changes.append(1))
        await upstream.call(asked("ask"))
        answers = server.answers()
        answers.sort(key=lambda answer: answer["id"])
        assert answers[0] == {"jsonrpc": "2.0", "id": "s0", "result": {}}
        assert answers[1]["error"]["code"] == -32601
        assert changes == [1]


async def test_a_refused_connection_proves_that_nothing_was_sent() -> None:
    async with FaultServer() as server:
        url = server.url
    upstream = build({"url": url})
    got = await fault_of(upstream.open())
    await upstream.close()
    assert (got.code, got.sent) == ("unavailable", False)
    assert got.message.startswith("fault: No connection to 127.0.0.1:")


async def test_a_server_that_went_away_is_reached_again_when_it_is_back(start: Start) -> None:
    async with FaultServer() as server:
        upstream = await start({"url": server.url})
        port = server.port
    got = await fault_of(upstream.call(asked("echo")))
    assert got.code == "unavailable"
    again = FaultServer()
    again._server = await asyncio.start_server(again._serve, "127.0.0.1", port)
    again._tasks = set()
    try:
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
    finally:
        await again.__aexit__()


async def test_a_name_that_cannot_be_a_host_is_unavailable() -> None:
    upstream = build({"url": f"http://{'a' * 70}.example/mcp"})
    got = await fault_of(upstream.open())
    await upstream.close()
    assert (got.code, got.sent) == ("unavailable", False)


async def test_connecting_has_a_deadline() -> None:
    with socket.socket() as full:  # nobody accepts, and the queue of connections not accepted has no room left
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.create_connection(address):
            upstream = build({"url": f"http://127.0.0.1:{address[1]}/mcp", "egress": {"connect_timeout_s": 0.05}})
            got = await fault_of(upstream.open())
            await upstream.close()
    assert (got.code, got.sent) == ("timeout", False)


async def test_an_idle_connection_is_dropped_before_the_server_drops_it(start: Start) -> None:
    async with FaultServer() as server:
        upstream = await start({"url": server.url})
        for connection in upstream._shared.wire._client._idle:  # type: ignore[attr-defined]
            connection.idle_until = 0.0
        await upstream.call(asked("echo"))
        assert server.connections == 2


async def test_only_so_many_idle_connections_are_kept(start: Start) -> None:
    async with FaultServer() as server:
        upstream = await start({"url": server.url})
        await asyncio.gather(*(upstream.call(asked("echo", {"n": n})) for n in range(100)))
        assert len(upstream._shared.wire._client._idle) <= 64  # type: ignore[attr-defined]


async def test_closing_ends_calls_in_flight_and_leaves_no_connection(start: Start) -> None:
    async with FaultServer("legacy", faults={"hang": faults.hang}) as server:
        upstream = await start({"url": server.url})
        hanging = asyncio.ensure_future(upstream.call(asked("hang")))
        while not server.calls("hang"):
            await asyncio.sleep(0)
        await upstream.close()
        assert (await fault_of(hanging)).code == "unavailable"
        assert not upstream._shared.wire._client._open  # type: ignore[attr-defined]


async def test_a_server_that_asks_without_end_is_answered_only_so_often(start: Start) -> None:
    async def nag(exchange: Exchange) -> None:
        exchange.stream()
        for number in range(200):
            exchange.chunk(b'data: {"jsonrpc":"2.0","id":%d,"method":"ping"}\n\n' % number)
        exchange.chunk(b"data: " + exchange.echo() + b"\n\n")
        exchange.chunk(b"")

    async def ignore(exchange: Exchange) -> None:
        await asyncio.sleep(600)

    async with FaultServer("legacy", faults={"nag": nag}) as server:
        server.on_method[""] = ignore
        upstream = await start({"url": server.url})
        assert text(await upstream.call(asked("nag"))) == {}
        answers = upstream._shared.wire._asides  # type: ignore[attr-defined]
        assert 1 <= len(answers) <= 32
        await upstream.close()
        assert not answers


async def test_what_is_sent_on_the_side_may_fail_without_a_trace(start: Start) -> None:
    async def reset(exchange: Exchange) -> None:
        exchange.reset()

    async with FaultServer("legacy", faults={"hang": faults.hang}) as server:
        server.on_method["notifications/cancelled"] = reset
        upstream = await start({"url": server.url})
        assert (await fault_of(upstream.call(asked("hang", timeout_s=0.05)))).code == "timeout"
        while upstream._shared.wire._asides:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}


async def test_a_session_that_cannot_be_ended_is_left(start: Start) -> None:
    async def reset(exchange: Exchange) -> None:
        exchange.reset()

    async with FaultServer("legacy") as server:
        upstream = await start({"url": server.url})
        server.on_method["DELETE"] = reset
        await upstream.close()
        assert server.seen[-1].verb == "DELETE"
