"""The bounds on the head of a request, on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.transport.bounded import HEAD_BYTES, HEAD_LINES, BoundedHttp, Malformed


class Impatient(BoundedHttp):
    request_s = 0.05


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await PlainTextResponse("fine")(scope, receive, send)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert not {b"upgrade", b"http2-settings"} & {name for name, _ in scope["headers"]}
    said = b""
    while (message := await receive())["type"] == "http.request":
        said += message["body"]
        if not message.get("more_body"):
            break
    await PlainTextResponse(said)(scope, receive, send)


@asynccontextmanager
async def connected(
    kind: type[BoundedHttp], app: Any = fine
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    http = type("Http", (kind,), {"malformed": Malformed()})
    server = await asyncio.get_running_loop().create_server(lambda: http(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return int(head.split()[1]), await reader.readexactly(int(length.split(b":")[1]))


async def status(reader: asyncio.StreamReader) -> int:
    return (await answer(reader))[0]


async def body(reader: asyncio.StreamReader) -> bytes:
    return (await answer(reader))[1]


async def test_a_head_in_pieces_is_read_and_so_are_the_next_ones_on_its_connection() -> None:
    async with connected(BoundedHttp) as (reader, writer):
        for _ in range(3):
            for piece in (b"GET /a", b"b HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"):
                writer.write(piece)
                await asyncio.sleep(0.001)
            assert await status(reader) == 200


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with connected(BoundedHttp) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET / HT")
        assert [await status(reader), await status(reader)] == [200, 200]
        writer.write(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert await status(reader) == 200


async def test_what_comes_behind_a_body_is_no_header() -> None:
    async def headers(scope: Scope, receive: Receive, send: Send) -> None:
        names = b" ".join(name for name, _ in scope["headers"])
        await PlainTextResponse(names)(scope, receive, send)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with connected(BoundedHttp, headers) as (reader, writer):
        for _ in range(2):
            writer.write(head + b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\nOrigin: http://evil\r\n\r\n")
            assert await body(reader) == b"host transfer-encoding"


@pytest.mark.parametrize("more", [b"a: b\r\n" * 1000, b"a" * 10_000], ids=["trailers", "one trailer"])
async def test_trailers_without_end_end_the_connection(more: bytes) -> None:
    async with connected(BoundedHttp) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
        with suppress(ConnectionError):
            for _ in range(2000):
                writer.write(more)
                await writer.drain()
            assert await asyncio.wait_for(reader.read(), 10) == b""


@pytest.mark.parametrize(
    "offer", [b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
              b"connection: close, upgrade\r\nUpgrade: websocket\r\n"],
    ids=["h2c", "websocket"],
)  # fmt: skip
@pytest.mark.parametrize(
    "framed", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("cut", [None, 20, 60, -3])
async def test_a_request_that_offers_another_protocol_is_read_with_its_body(
    offer: bytes, framed: bytes, cut: int | None
) -> None:
    whole = b"POST /a HTTP/1.1\r\nHost: x\r\n" + offer + framed
    async with connected(BoundedHttp, echo) as (reader, writer):
        writer.write(whole[:cut])
        if cut is not None:
            await asyncio.sleep(0.001)
            writer.write(whole[cut:])
        assert await body(reader) == b"hello"
        if b"close" in offer:
            assert await reader.read() == b""
            return
        writer.write(whole + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nend")
        assert [await body(reader), await body(reader)] == [b"hello", b"end"]


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com",
        b"CONNECT * HTTP/1.1\r\nHost: x",
        b"GET http://example.com/ HTTP/1.1\r\nHost: x",
        b"GET http://x/ HTTP/1.1\r\nHost: example.com",
        b"GET http://x@example.com/ HTTP/1.1\r\nHost: x",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\nHost: x",
    ],
)
async def test_nothing_can_be_reached_through_the_gateway_as_through_a_proxy(line: bytes) -> None:
    async with connected(BoundedHttp) as (reader, writer):
        writer.write(line + b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await status(reader) == 400
        assert await reader.read() == b""


async def test_a_whole_url_of_the_very_host_and_a_star_are_read_as_any_path() -> None:
    async with connected(BoundedHttp) as (reader, writer):
        for target in (b"GET http://X:1/a", b"OPTIONS *"):
            writer.write(target + b" HTTP/1.1\r\nHost: x:1\r\n\r\n")
            assert await status(reader) == 200


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked", b"identity,chunked"])
async def test_a_body_in_an_encoding_that_is_not_undone_is_not_read(coding: bytes) -> None:
    async with connected(BoundedHttp, echo) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        assert await status(reader) == 400
        assert await reader.read() == b""


async def test_what_waits_on_a_connection_is_not_begun_once_its_client_left() -> None:
    begun, gone, left = [], asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        while (await receive())["type"] != "http.disconnect":
            gone.set()
        left.set()
        await PlainTextResponse("nobody hears")(scope, receive, send)

    async with connected(BoundedHttp, slow) as (_, writer):
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)))
        await gone.wait()
        writer.close()
        await left.wait()
        await asyncio.sleep(0)
        assert begun == ["/0"]


async def test_a_connection_with_too_many_waiting_requests_ends() -> None:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with connected(BoundedHttp, never) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 101)
        await asyncio.sleep(0.01)
        assert not reader.at_eof()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.read() == b""


async def test_a_large_body_does_not_count_as_head() -> None:
    async with connected(BoundedHttp) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
            assert await status(reader) == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (HEAD_LINES + 1) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * HEAD_BYTES + b"\r\n\r\n",
        b"GET /" + b"y" * HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * HEAD_BYTES,
        b"GET /" + b"y" * HEAD_BYTES,
    ],
    ids=["lines", "a value", "a path", "a value without end", "a path without end"],
)
async def test_a_head_over_the_bounds_ends_the_connection(head: bytes) -> None:
    async with connected(BoundedHttp) as (reader, writer):
        writer.write(head)
        assert await answer(reader) == (431, b"The head of the request is too large.")
        assert await reader.read() == b""


def test_a_flood_of_requests_that_are_not_http_is_told_of_once_a_minute_and_counted() -> None:
    malformed = Malformed()
    assert [malformed.count(now) for now in (0.0, 1.0, 59.0, 60.0, 61.0, 121.0)] == [1, 0, 0, 3, 0, 2]


async def test_requests_that_are_not_http_are_each_refused_but_not_each_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(BoundedHttp) as (reader, writer):
        other, beside = await asyncio.open_connection(*writer.get_extra_info("peername"))
        for to, said in ((writer, b"\x16\x03\x01\r\n\r\n"), (beside, b"no http\r\n\r\n")):
            to.write(said)
            assert await status(reader if to is writer else other) == 400
        beside.close()
    assert [record.getMessage() for record in caplog.records] == ["Invalid HTTP request received. (1 since last told)"]


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost:",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
    ids=["nothing", "half a head", "no body", "half a body", "half its chunks"],
)
@pytest.mark.parametrize("before", [0, 1])
async def test_a_request_that_does_not_come_ends_the_connection(begun: bytes, before: int) -> None:
    async with connected(Impatient) as (reader, writer):
        for _ in range(before):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await status(reader) == 200
        writer.write(begun or b"G")
        assert await reader.read() == b""


async def test_a_connection_that_is_silent_from_the_start_ends() -> None:
    async with connected(Impatient) as (reader, _):
        assert await reader.read() == b""


async def test_between_requests_a_connection_may_rest() -> None:
    async with connected(Impatient) as (reader, writer):
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert await status(reader) == 200
            await asyncio.sleep(2 * Impatient.request_s)
