"""The bounds on the head of a request, on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.transport.bounded import HEAD_BYTES, HEAD_LINES, BoundedHttp


class Impatient(BoundedHttp):
    request_s = 0.05


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await PlainTextResponse("fine")(scope, receive, send)


@asynccontextmanager
async def connected(kind: type[BoundedHttp]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(fine, lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: kind(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


async def status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(int(length.split(b":")[1]))
    return int(head.split()[1])


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
        assert await status(reader) == 400
        assert await reader.read() == b""


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
