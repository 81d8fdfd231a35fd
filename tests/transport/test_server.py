"""The application on a real socket."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.transport.server import listen, serving


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the path."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_requests_are_served_until_the_block_ends(host: str) -> None:
    try:
        listener = listen(host, 0)
    except OSError as error:  # a machine without IPv6
        assert (host, error.errno) == ("::1", errno.EADDRNOTAVAIL)  # noqa: PT017 - only then is there nothing to test
        return
    async with serving(echo, listener), httpx2.AsyncClient(base_url=url(listener)) as http:
        answer = await http.get("/mcp")
        assert (answer.text, "server" in answer.headers, "date" in answer.headers) == ("/mcp", False, False)
    assert listener.fileno() == -1


def test_an_address_that_is_taken_is_an_error_and_not_the_end_of_the_process() -> None:
    first = listen("127.0.0.1", 0)
    first.listen()
    try:
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", first.getsockname()[1])
    finally:
        first.close()


async def test_a_request_under_way_is_answered_before_the_server_ends() -> None:
    arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.set()
        await may_answer.wait()
        await echo(scope, receive, send)

    listener = listen("127.0.0.1", 0)
    async with httpx2.AsyncClient(base_url=url(listener)) as http:
        async with serving(slow, listener):
            asked = asyncio.ensure_future(http.get("/slow"))
            await arrived.wait()
            asyncio.get_running_loop().call_soon(may_answer.set)
        assert (await asked).text == "/slow"


async def test_a_stream_is_sent_as_it_comes() -> None:
    read = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await read.wait()
        end: Message = {"type": "http.response.body", "body": b"two"}
        await send(end)

    async def parts(answer: httpx2.Response) -> AsyncIterator[bytes]:
        async for part in answer.aiter_raw():
            read.set()
            yield part

    listener = listen("127.0.0.1", 0)
    http = httpx2.AsyncClient(base_url=url(listener))
    async with serving(stream, listener), http, http.stream("GET", "/") as answer:
        assert b"".join([part async for part in parts(answer)]) == b"onetwo"
