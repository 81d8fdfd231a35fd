"""Where a request comes from, and HTTP that is broken on purpose."""

import asyncio

import pytest

from tests.live.front.attack import peer
from tests.live.inside import Inside

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:{port}.evil.example", "127.0.0.1:1", "", None,
     "localhost:{port}@evil.example", "127.1:{port}", "2130706433:{port}", "127.0.0.1:{port}, evil.example"],
)  # fmt: skip
async def test_a_host_that_is_not_ours_is_not_served(gate: Inside, host: str | None) -> None:
    known = await peer(gate)
    said = host if host is None else host.format(port=known.port)
    assert (await known.call("probe_echo", Host=said)).status in {400, 421}
    assert (await known.ask("GET", "/healthz", Host=said)).status in {400, 421}


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://127.0.0.1:{port}.evil.example", "https://127.0.0.1:{port}",
     "http://localhost", "file://", "http://127.0.0.1:{port}/", "http://user@127.0.0.1:{port}", "chrome-extension://x"],
)  # fmt: skip
async def test_an_origin_that_is_not_ours_may_not_call(gate: Inside, origin: str) -> None:
    known = await peer(gate)
    said = origin.format(port=known.port)
    assert (await known.call("probe_echo", Origin=said)).status == 403
    assert (await known.ask("GET", "/-/status", Origin=said)).status == 403


async def test_a_cors_preflight_is_granted_nothing(gate: Inside) -> None:
    known = await peer(gate)
    for origin in ("http://evil.example", f"http://127.0.0.1:{known.port}"):
        answer = await known.ask("OPTIONS", "/mcp", Origin=origin, Access_Control_Request_Method="POST")
        assert answer.status in {403, 405}
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "text/plain; application/json", "application/json-patch+json", "application/jsonx"],
)  # fmt: skip
async def test_what_a_browser_form_can_send_is_refused(gate: Inside, kind: str | None) -> None:
    known = await peer(gate)
    answer = await known.call("probe_echo", Content_Type=kind)
    assert answer.status == 415


async def test_a_compressed_body_is_refused(gate: Inside) -> None:
    known = await peer(gate)
    assert (await known.call("probe_echo", Content_Encoding="gzip")).status == 415


async def test_a_request_whose_length_is_said_twice_is_refused(gate: Inside) -> None:
    known = await peer(gate)
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
    for second in (str(len(body)), "5", "0"):
        twice = [*known.headers(body).items(), ("Content-Length", second)]
        assert (await known.send(known.head("POST", "/mcp", twice) + body)).status == 400


@pytest.mark.parametrize(
    "coding", ["chunked", " chunked", "xchunked", "chunked, identity", "identity", "\x0bchunked", "gzip, chunked"]
)
async def test_a_request_cannot_be_smuggled_behind_another(gate: Inside, coding: str) -> None:
    """Content-Length and Transfer-Encoding at once: whoever reads only one of them sees another second request."""
    known = await peer(gate)
    smuggled = known.head("GET", "/smuggled", known.headers().items())
    body = b"0\r\n\r\n" + smuggled
    lines = [*known.headers(body).items(), ("Transfer-Encoding", coding)]
    reader, writer = await asyncio.open_connection("127.0.0.1", known.port)
    writer.write(known.head("POST", "/mcp", lines) + body)
    first = await known.read(reader)
    assert first.status == 400
    writer.close()


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nx\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nx",
        b"5 ;\nhello",
    ],
)
async def test_a_broken_chunk_ends_the_connection(gate: Inside, chunks: bytes) -> None:
    known = await peer(gate)
    lines = {**known.headers(b""), "Transfer-Encoding": "chunked"}
    del lines["Content-Length"]
    assert (await known.send(known.head("POST", "/mcp", lines.items()) + chunks)).status == 400


async def test_a_flood_of_headers_ends_the_connection(gate: Inside) -> None:
    known = await peer(gate)
    many = [*known.headers().items(), *((f"X-{number}", "y" * 50) for number in range(2000))]
    assert (await known.send(known.head("GET", "/healthz", many))).status in {400, 431}
    assert (await known.send(known.head("GET", "/" + "a" * 200_000, known.headers().items()))).status in {400, 414, 431}


async def test_a_header_without_end_ends_the_connection(gate: Inside) -> None:
    known = await peer(gate)
    reader, writer = await asyncio.open_connection("127.0.0.1", known.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
    answering = asyncio.ensure_future(known.read(reader))
    try:
        for _ in range(640):  # 64 MB, if it were let
            writer.write(b"y" * 100_000)
            await writer.drain()
            if answering.done():
                break
    except ConnectionError:
        pass
    assert (await answering).status in {400, 431}
    writer.close()


async def test_a_slow_sender_delays_nobody(gate: Inside) -> None:
    known = await peer(gate)
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
    slow = [await asyncio.open_connection("127.0.0.1", known.port) for _ in range(50)]
    for number, (_, writer) in enumerate(slow):
        whole = known.head("POST", "/mcp", known.headers(body).items()) + body
        writer.write(whole[: (number + 1) * len(whole) // 60])
    assert (await known.call("probe_echo", {"n": 1})).code == "ok"
    for _, writer in slow:
        writer.close()


async def test_a_body_of_64_mb_is_refused_before_it_is_read(gate: Inside) -> None:
    known = await peer(gate)
    said = known.headers(b"", Content_Length=str(64 * 1024 * 1024))
    assert (await known.send(known.head("POST", "/mcp", said.items()) + b"{" * 1000)).status == 413
    untold = known.headers(b"", Content_Length=None, Transfer_Encoding="chunked")
    reader, writer = await asyncio.open_connection("127.0.0.1", known.port)
    writer.write(known.head("POST", "/mcp", untold.items()))
    answering = asyncio.ensure_future(known.read(reader))
    sent = 0
    while not answering.done() and sent < 64 * 1024 * 1024:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()
        sent += 65536
    assert (await answering).status == 413
    assert sent < 16 * 1024 * 1024
    writer.close()
