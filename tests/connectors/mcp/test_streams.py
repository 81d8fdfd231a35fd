"""What comes on a call's own stream is for that call, also when the stream breaks off and goes on."""

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from connectors.mcp.event_stream import EventStream
from gateway.connector import AskRefused
from tests.connectors.mcp.client import Client
from tests.connectors.mcp.conftest import Start, asked, fault_of, text
from tests.connectors.mcp.test_talk import DONE, LOG, sampler
from tests.fixtures import http_faults as faults
from tests.fixtures.clock import FakeClock
from tests.fixtures.fault_http import Exchange, Fault, FaultServer

QUESTION = {"id": "q", "method": "sampling/createMessage", "params": {"n": 1}}


def event(message: dict[str, Any] | bytes, **fields: Any) -> bytes:
    data = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"".join(f"{name}: {value}\n".encode() for name, value in fields.items()) + b"data: " + data + b"\n\n"


def saying(*messages: dict[str, Any]) -> Fault:
    """Stream these, wait for as many answers as there are requests among them, then answer."""

    async def say(exchange: Exchange) -> None:
        exchange.stream()
        before = len(exchange.server.answers())
        for message in messages:
            exchange.chunk(event(message))
        await exchange.writer.drain()
        while len(exchange.server.answers()) - before < sum("id" in message for message in messages):
            await asyncio.sleep(0)
        exchange.chunk(event(exchange.echo()))
        exchange.chunk(b"")

    return say


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_what_comes_on_a_calls_stream_is_told_to_its_client(start: Start, era: str) -> None:
    progress = {"method": "notifications/progress", "params": {"progressToken": "?", "progress": 1}}
    changed = {"method": "notifications/resources/list_changed"}
    async with FaultServer(era, faults={"say": saying(LOG, DONE, progress, changed)}) as server:
        upstream = await start({"url": server.url})
        notices: list[Any] = []
        upstream.on_notice(lambda *notice: notices.append(notice))
        client, other = Client(wants_progress=True), Client()
        await asyncio.gather(*(upstream.call(asked("say", back=back)) for back in (client, other)))
        assert [method for method, _ in client.heard] == [LOG["method"], DONE["method"], progress["method"]]
        assert [method for method, _ in other.heard] == [LOG["method"], DONE["method"]]
        assert {method for method, _ in notices} == {changed["method"]}


async def test_a_question_on_a_calls_stream_is_put_to_its_client(start: Start) -> None:
    async with FaultServer("legacy", faults={"ask": saying(QUESTION)}) as server:
        upstream = await start({"url": server.url})
        client = sampler({"x": None})
        await upstream.call(asked("ask", back=client))
        assert client.asked == [("sampling/createMessage", {"n": 1})]
        assert server.answers() == [{"jsonrpc": "2.0", "id": "q", "result": {"x": None}}]
        [answer] = [seen for seen in server.seen if seen.message in server.answers()]
        [call] = server.calls("ask")
        for name in ("mcp-session-id", "mcp-protocol-version"):
            assert answer.headers[name] == call.headers[name]


async def test_a_modern_server_asks_in_vain_for_what_its_era_does_not_have(start: Start) -> None:
    async with FaultServer(faults={"ask": saying(QUESTION)}) as server:
        upstream = await start({"url": server.url})
        client = sampler({})
        await upstream.call(asked("ask", back=client))
        assert (client.asked, server.answers()[0]["error"]["code"]) == ([], -32601)


async def test_a_question_nobody_takes_part_in_is_refused_in_the_words_of_the_way_back(start: Start) -> None:
    async with FaultServer("legacy", faults={"ask": saying(QUESTION)}) as server:
        upstream = await start({"url": server.url}, lends=lambda server: {"sampling": {}})
        await upstream.call(asked("ask", back=Client(answers={QUESTION["method"]: AskRefused(-1, "no policy")})))
        assert server.answers()[0]["error"] == {"code": -1, "message": "no policy"}


async def test_limits_stand_still_while_the_client_is_asked(start: Start) -> None:
    clock = FakeClock()

    async def slowly(params: Any) -> Any:
        await asyncio.sleep(0.35)
        clock.passed += 100
        return {}

    async with FaultServer("legacy", faults={"ask": saying(QUESTION), "hang": faults.hang}) as server:
        upstream = await start({"url": server.url}, clock=clock)
        await upstream.call(asked("echo", back=sampler(slowly)))
        client = sampler(slowly)
        call = asyncio.ensure_future(upstream.call(asked("ask", {"n": 1}, back=client, timeout_s=0.3)))
        while not client.asked:
            await asyncio.sleep(0)
        clock.passed += 100
        assert text(await call) == {"n": 1}
        fault = await fault_of(upstream.call(asked("hang", back=client, timeout_s=0.05)))
        assert fault.code == "timeout"


async def test_a_clients_own_session_hears_the_server_on_its_own_stream_too(start: Start) -> None:
    """Servers that forget which call they speak for say it on the session's stream."""
    streams: dict[str, Exchange] = {}

    async def stream(exchange: Exchange) -> None:
        exchange.stream()
        streams[exchange.seen.headers["mcp-session-id"]] = exchange
        await exchange.writer.drain()
        await asyncio.sleep(600)

    async def say(exchange: Exchange) -> None:
        while exchange.seen.headers["mcp-session-id"] not in streams:
            await asyncio.sleep(0)
        own = streams[exchange.seen.headers["mcp-session-id"]]
        for message in (QUESTION, LOG):
            own.chunk(event(message))
        await own.writer.drain()
        while not exchange.server.answers():
            await asyncio.sleep(0)
        exchange.http(exchange.echo())

    async with FaultServer("legacy", faults={"say": say}, on_method={"GET": stream}) as server:
        upstream = await start({"url": server.url})
        client = sampler({"x": 1})
        await upstream.call(asked("say", back=client))
        assert server.answers()[0]["result"] == {"x": 1}
        assert client.of("message") == [LOG["params"]]
        server.seen.clear()
        shared = Client(answers={QUESTION["method"]: {}})
        await upstream.call(asked("say", back=shared))
        assert server.answers()[0]["error"]["code"] == -32601
        assert (shared.asked, shared.heard) == ([], [])


@pytest.mark.parametrize("begins", [True, False])
async def test_a_clients_own_session_is_called_on_only_once_its_own_stream_is_open(start: Start, begins: bool) -> None:
    """A server that asks on a stream which is not there yet would ask nobody; one without such a stream is called."""
    streams: list[Exchange] = []

    async def stream(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)  # a server that takes its time
        if not begins:
            exchange.http(b"", "405 Method Not Allowed")
            return
        exchange.stream()
        await exchange.writer.drain()
        streams.append(exchange)
        await asyncio.sleep(600)

    async def say(exchange: Exchange) -> None:
        asked_of = list(streams)
        for own in asked_of[-1:]:
            own.chunk(event(QUESTION))
            await own.writer.drain()
        while begins and not exchange.server.answers():
            await asyncio.sleep(0)
        exchange.http(exchange.echo())

    async with FaultServer("legacy", faults={"say": say}, on_method={"GET": stream}) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("say", back=sampler({"x": 1}), timeout_s=5.0))
        assert [answer["result"] for answer in server.answers()] == ([{"x": 1}] if begins else [])


def resumable(*, ends: Callable[[Exchange], None], answers: int = 1) -> tuple[Fault, Fault]:
    """A call whose stream ends after an event with an id, and the stream that brings the answer at try `answers`."""
    calls: list[Exchange] = []
    tries: list[int] = []

    async def call(exchange: Exchange) -> None:
        calls.append(exchange)
        exchange.stream()
        exchange.chunk(b"id: 1\nretry: 20\ndata:\n\n" + event(LOG, id="é2"))
        await exchange.writer.drain()
        ends(exchange)

    async def stream(exchange: Exchange) -> None:
        if "last-event-id" not in exchange.seen.headers:
            exchange.http(b"", "405 Method Not Allowed")
            return
        tries.append(1)
        exchange.stream()
        if len(tries) < answers:
            exchange.chunk(event(LOG, id=f"try{len(tries)}"))
        else:
            exchange.chunk(event(calls[0].echo(), id="last"))
        exchange.chunk(b"")

    return call, stream


def closes(exchange: Exchange) -> None:
    exchange.chunk(b"")


@pytest.mark.parametrize("ends", [closes, Exchange.reset])
@pytest.mark.parametrize("tries", [1, 9])
async def test_a_stream_that_breaks_off_is_gone_on_with_after_the_servers_pause(
    start: Start, ends: Callable[[Exchange], None], tries: int
) -> None:
    call, stream = resumable(ends=ends, answers=tries)
    clock = FakeClock()
    async with FaultServer("legacy", faults={"poll": call}, on_method={"GET": stream}) as server:
        upstream = await start({"url": server.url}, clock=clock)
        client = Client()
        assert text(await upstream.call(asked("poll", {"n": 1}, back=client))) == {"n": 1}
        assert len(client.of("message")) == tries
        resumed = [seen for seen in server.seen if "last-event-id" in seen.headers]
        ids = ["é2".encode().decode("latin-1"), *(f"try{n}" for n in range(1, tries))]
        assert [seen.headers["last-event-id"] for seen in resumed] == ids
        assert {seen.headers["mcp-session-id"] for seen in resumed} == {"session-1"}
        assert clock.slept == [0.02] * tries
        assert len(server.calls("poll")) == 1


async def broken(exchange: Exchange) -> None:
    exchange.reset()


async def not_allowed(exchange: Exchange) -> None:
    exchange.http(b"", "405 Method Not Allowed")


@pytest.mark.parametrize(("stream", "tries"), [(broken, 6), (not_allowed, 2)])
async def test_a_stream_that_cannot_be_gone_on_with_is_a_call_whose_outcome_is_not_known(
    start: Start, stream: Fault, tries: int
) -> None:
    call, _ = resumable(ends=closes)
    async with FaultServer("legacy", faults={"poll": call}, on_method={"GET": not_allowed}) as server:
        upstream = await start({"url": server.url}, clock=FakeClock())
        while not [seen for seen in server.seen if seen.verb == "GET"]:
            await asyncio.sleep(0)
        server.on_method["GET"] = stream
        fault = await fault_of(upstream.call(asked("poll")))
        assert (fault.code, fault.sent) == ("unavailable", True)
        assert "ended without the answer" in fault.message
        assert len([seen for seen in server.seen if seen.verb == "GET"]) == tries


async def test_going_on_with_a_stream_ends_at_the_deadline_and_the_server_is_told(start: Start) -> None:
    call, _ = resumable(ends=closes)

    async def silent(exchange: Exchange) -> None:
        exchange.stream()
        await exchange.writer.drain()
        await asyncio.sleep(600)

    async with FaultServer("legacy", faults={"poll": call}, on_method={"GET": silent}) as server:
        upstream = await start({"url": server.url, "first_byte_timeout_s": 0.05})
        for _ in range(2):
            fault = await fault_of(upstream.call(asked("poll", timeout_s=0.1)))
            assert (fault.code, fault.sent) == ("timeout", True)
        while len(server.methods("notifications/cancelled")) < 2:
            await asyncio.sleep(0)


async def test_closing_ends_a_call_that_waits_to_go_on(start: Start) -> None:
    async def call(exchange: Exchange) -> None:
        exchange.stream()
        exchange.chunk(b"id: 1\nretry: 50000\ndata:\n\n")
        exchange.chunk(b"")

    async with FaultServer("legacy", faults={"poll": call}) as server:
        upstream = await start({"url": server.url})
        polling = asyncio.ensure_future(upstream.call(asked("poll")))
        while len(upstream._shared.wire._asides) < 1:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        await upstream.close()
        fault = await fault_of(polling)
        assert (fault.code, fault.sent) == ("unavailable", True)


def test_ids_and_pauses_are_read_as_the_standard_says() -> None:
    stream = EventStream(10_000)
    assert list(stream.feed(b"id: 1\ndata: a\n\nid\ndata: b\n\nid: x\n")) == [b"a", b"b"]
    assert stream.last_id == b""
    assert list(stream.feed(b": a comment\nretry: 5\n\nretry: soon\nretry:7 \nretry: 9999999999\n\n")) == []
    assert (stream.last_id, stream.retry_ms) == (b"x", 5)
    assert list(stream.feed(b"id: a\0b\ndata: c\n\nid: \x7f\n\nid: " + b"y" * 1001 + b"\n\n")) == [b"c"]
    assert stream.last_id == b"x"


def test_a_byte_order_mark_comments_and_every_line_end_are_read_as_the_standard_says() -> None:
    stream = EventStream(10_000)
    pieces = [b"\xef\xbb", b"\xbfdata: a\r", b"\n: x\r\n\rda", b"ta:b\ndata:\ndata: c\n\n", b":\ndata\n\ndata:\n\n"]
    assert [data for piece in pieces for data in stream.feed(piece)] == [b"a", b"b\n\nc"]
    assert list(stream.feed(b"data:\ndata:\n\n\xef\xbb\xbfdata: d\n\n")) == [b"\n"]


def test_many_short_lines_of_one_event_take_no_more_memory_than_a_long_one() -> None:
    stream = EventStream(3_000_000)
    tracemalloc.start()
    try:
        for number in range(100):
            list(stream.feed(b"".join(b"data: %d\n" % (number * 500 + line) for line in range(500))))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert not stream.overflowed


@pytest.mark.parametrize("line", [b":\n", b"data:\n"])
async def test_a_server_that_floods_its_stream_with_lines_is_read_slower(start: Start, line: bytes) -> None:
    async def flood(exchange: Exchange) -> None:
        exchange.stream()
        for _ in range(4):
            exchange.chunk(line * 50_000)
            await exchange.writer.drain()
        exchange.chunk(b"\n\n" + event(exchange.echo()))
        exchange.chunk(b"")

    async with FaultServer("modern", faults={"flood": flood}) as server:
        upstream = await start({"url": server.url})
        client = upstream._shared.wire._shown._client  # type: ignore[attr-defined]
        call = asyncio.ensure_future(upstream.call(asked("flood", timeout_s=60.0)))
        slower = 0
        while not call.done():
            slower = max(slower, client.resting)
            await asyncio.sleep(0.001)
        assert text(await call) == {}
        assert (slower, client.resting) == (1, 0)


def test_an_endless_stream_may_be_longer_than_others_but_not_its_events() -> None:
    bounded, endless = EventStream(10), EventStream(10, endless=True)
    for _ in range(100):
        assert list(endless.feed(b"data: a\n\n")) == [b"a"]
        list(bounded.feed(b"data: a\n\n"))
    assert (bounded.overflowed, endless.overflowed) == (True, False)
    list(endless.feed(b"data: aaaaaaaaaaaa\n\n"))
    assert not endless.overflowed
    list(endless.feed(b"data: aaaaaaaaaaaa\n"))
    assert endless.overflowed
