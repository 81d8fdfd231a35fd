"""Whatever goes wrong on one HTTP exchange ends that exchange, in time, with a clear fault, and no other."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from connectors.mcp.http_client import _Connection
from gateway.connector import ConnectorFault
from tests.connectors.mcp.conftest import Start, asked, fault_of, text
from tests.fixtures import http_faults as faults
from tests.fixtures.clock import FakeClock
from tests.fixtures.fault_http import Exchange, FaultServer
from tests.fixtures.rings import letting_go

FAULTS: list[tuple[Callable[[Exchange], Awaitable[None]], str, str]] = [
    (faults.reset_before, "unavailable", "before it answered"),
    (faults.reset_in_headers, "unavailable", "in the middle of its answer"),
    (faults.reset_in_body, "unavailable", "in the middle of its answer"),
    (faults.close_before, "unavailable", "before it answered"),
    (faults.truncated_body, "unavailable", "in the middle of its answer"),
    (faults.truncated_chunks, "unavailable", "in the middle of its answer"),
    (faults.truncated_json, "contract_broken", "cannot be used"),
    (faults.truncated_json_to_eof, "contract_broken", "cannot be used"),
    (faults.duplicate_keys, "contract_broken", "cannot be used"),
    (faults.foreign_id, "contract_broken", "cannot be used"),
    (faults.not_an_object, "contract_broken", "cannot be used"),
    (faults.result_and_error, "contract_broken", "not a JSON-RPC response"),
    (faults.neither, "contract_broken", "not a JSON-RPC response"),
    (faults.a_list, "contract_broken", "not an object"),
    (faults.oversize_declared, "contract_broken", "max_message_bytes"),
    (faults.oversize_chunked, "contract_broken", "max_message_bytes"),
    (faults.compressed, "contract_broken", "compressed"),
    (faults.many_headers, "contract_broken", "headers are too large"),
    (faults.large_headers, "contract_broken", "headers are too large"),
    (faults.endless_header, "contract_broken", "headers are too large"),
    (faults.not_http, "contract_broken", "not HTTP"),
    (faults.bad_chunks, "contract_broken", "not HTTP"),
    (faults.two_lengths, "contract_broken", "not HTTP"),
    (faults.upgrade, "contract_broken", "not HTTP"),
    (faults.interim_flood, "contract_broken", "interim"),
    (faults.accepted, "contract_broken", "cannot be used"),
    (faults.no_content, "contract_broken", "cannot be used"),
    (faults.redirect, "rejected", "redirect"),
    (faults.stream_without_answer, "unavailable", "ended without the answer"),
    (faults.stream_cut_off, "unavailable", "in the middle"),
    (faults.comment_flood, "contract_broken", "stream is too large"),
    (faults.large_event, "contract_broken", "stream is too large"),
    (faults.unauthorised, "credential_expired", "credential"),
    (faults.forbidden, "forbidden", "403"),
    (faults.broken, "unavailable", "HTTP 500"),
    (faults.bad_gateway, "unavailable", "HTTP 502"),
    (faults.request_too_slow, "unavailable", "HTTP 408"),
    (faults.too_early, "unavailable", "HTTP 425"),
    (faults.teapot, "rejected", "HTTP status 418"),
    (faults.foreign_error, "rejected", "HTTP status 400"),
    (faults.nameless_error, "rejected", "what is this"),
    (faults.odd_error, "rejected", "no reason given"),
]


async def test_an_endless_flood_of_large_events_is_read_no_faster_than_leaves_time_for_others(start: Start) -> None:
    async with FaultServer(faults={"fault": faults.endless_notifications}) as server:
        upstream = await start({"url": server.url, "max_message_bytes": 2_000_000_000})
        call = asyncio.ensure_future(upstream.call(asked("fault")))
        while not server.calls("fault"):
            await asyncio.sleep(0)
        [connection] = upstream._shared.wire._client._open  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while connection._transport.is_reading():
                await asyncio.sleep(0)
        assert connection.usable
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize(("fault", "code", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_fault_ends_its_own_call_and_no_other(start: Start, fault: Any, code: str, message: str) -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await gate.wait()
        exchange.http(exchange.echo())

    async with FaultServer(faults={"fault": fault, "slow": slow}) as server:
        section = {"url": server.url, "max_message_bytes": 100_000, "headers": {"Authorization": "Bearer t0ken-value"}}
        upstream = await start(section)
        bystanders = [asyncio.ensure_future(upstream.call(asked("slow", {"n": n}))) for n in range(3)]
        while len(server.calls("slow")) < 3:
            await asyncio.sleep(0)
        got = await fault_of(upstream.call(asked("fault")))
        assert (got.code, got.sent) == (code, True)
        assert message in got.message
        assert "t0ken-value" not in got.message + got.detail
        gate.set()
        assert [text(result)["n"] for result in await asyncio.gather(*bystanders)] == [0, 1, 2]
        assert text(await upstream.call(asked("echo", {"n": 9}))) == {"n": 9}
        assert len(server.calls("fault")) == 1
        assert {seen.headers["host"] for seen in server.seen} == {f"127.0.0.1:{server.port}"}


@pytest.mark.parametrize(
    "answer",
    [
        faults.to_eof,
        faults.chunked,
        faults.byte_by_byte,
        faults.after_hints,
        faults.answered_twice,
        faults.goodbye,
        faults.streamed,
        faults.streamed_and_left_open,
        faults.in_a_batch,
        faults.text_id,
        faults.streamed_in_a_batch,
        faults.created,
        faults.accepted_and_answered,
        faults.after_a_byte_order_mark,
    ],
    ids=lambda value: value.__name__,
)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_unusual_answer_is_an_answer(start: Start, answer: Any, era: str) -> None:
    async with FaultServer(era, faults={"odd": answer}) as server:
        upstream = await start({"url": server.url})
        for _ in range(2):
            assert text(await upstream.call(asked("odd"))) == {}
            assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}


@pytest.mark.parametrize(
    "fault", [faults.hang, faults.drip, faults.drip_headers, faults.drip_events], ids=lambda value: value.__name__
)
async def test_an_answer_that_never_ends_does_end_at_the_deadline(start: Start, fault: Any) -> None:
    async with FaultServer(faults={"fault": fault}) as server:
        upstream = await start({"url": server.url})
        got = await fault_of(upstream.call(asked("fault", timeout_s=0.15)))
        assert (got.code, got.sent, got.retryable) == ("timeout", True, True)
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}


async def test_an_answer_that_never_begins_ends_at_its_own_limit(start: Start) -> None:
    async with FaultServer(faults={"fault": faults.hang}) as server:
        upstream = await start({"url": server.url, "first_byte_timeout_s": 0.1})
        got = await fault_of(upstream.call(asked("fault")))
        assert (got.code, got.sent) == ("timeout", True)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("Retry-After: 7", 7.0),
        ("Retry-After: Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Retry-After: Fri, 15 Jan 2027 07:59:30 GMT", 0.0),
        ("Retry-After: soon", None),
        ("X: y", None),
    ],
)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_a_servers_wish_to_wait_is_heard_and_means_that_it_did_nothing(
    start: Start, status: str, header: str, wait: float | None
) -> None:
    async def later(exchange: Exchange) -> None:
        exchange.http(b"", status, header)

    async with FaultServer(faults={"later": later}) as server:
        upstream = await start({"url": server.url}, clock=FakeClock(now_ms=1_800_000_000_000))
        got = await fault_of(upstream.call(asked("later")))
        assert (got.code, got.retryable, got.retry_after_s) == ("unavailable", True, wait)
        assert (got.sent, got.refused) == (True, status.startswith("429") or header != "X: y")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("padding", [b"", b" " * 7], ids=["the same", "another"])
async def test_an_answer_that_comes_again_late_is_not_taken_for_the_next(
    start: Start, padding: bytes, times: int
) -> None:
    """The second copy reaches the gateway when the connection carries another call already; a third ends that call."""
    said: list[bytes] = []

    async def first(x: Exchange) -> None:
        said.append(x.echo())
        x.http(said[0])

    async def second(x: Exchange) -> None:
        for _ in range(times):
            x.http(said[0] + padding)
        await x.writer.drain()
        x.http(x.echo())

    async with FaultServer(faults={"first": first, "second": second}) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("first", {"n": 1}))
        before = server.connections
        following = upstream.call(asked("second", {"n": 2}))
        if times == 1:
            assert text(await following) == {"n": 2}
        else:
            assert (await fault_of(following)).code == "contract_broken"
        assert text(await upstream.call(asked("echo", {"n": 3}))) == {"n": 3}
        assert server.connections == before + times - 1


async def test_another_answer_again_in_pieces_beside_the_next_ends_that_call(start: Start) -> None:
    """Where the first one ends cannot be told from outside the parser: nothing is guessed."""
    said: list[bytes] = []

    async def first(x: Exchange) -> None:
        said.append(x.echo())
        x.http(said[0])

    async def second(x: Exchange) -> None:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(said[0]), said[0])
        own = x.echo()
        again = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        x.raw(again + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(own), own))

    async with FaultServer(faults={"first": first, "second": second}) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("first", {"n": 1}))
        assert (await fault_of(upstream.call(asked("second", {"n": 2})))).code == "contract_broken"
        assert text(await upstream.call(asked("echo", {"n": 3}))) == {"n": 3}


@pytest.mark.parametrize("odd", [faults.foreign_id, faults.truncated_json, faults.not_an_object])
async def test_a_connection_that_brought_anothers_answer_is_not_used_again(start: Start, odd: Any) -> None:
    async with FaultServer(faults={"odd": odd}) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("echo"))
        before = server.connections
        await fault_of(upstream.call(asked("odd")))
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
        assert server.connections == before + 1


@pytest.mark.parametrize(
    "fault", [faults.close_before, faults.truncated_body, faults.oversize_chunked, faults.not_http]
)
async def test_a_connection_that_broke_is_let_go_of_with_what_it_brought(start: Start, fault: Any) -> None:
    async with FaultServer(faults={"fault": fault}) as server:
        upstream = await start({"url": server.url, "max_message_bytes": 100_000})
        await upstream.call(asked("echo"))
        async with letting_go(_Connection):
            for _ in range(3):
                with suppress(ConnectorFault):  # what pytest catches stays in a ring of its own
                    await upstream.call(asked("fault"))
            await upstream.call(asked("echo"))


async def test_a_connection_at_rest_holds_nothing_of_the_answer_before(start: Start) -> None:
    async with FaultServer(faults={"large": faults.chunked}) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("large"))
        [connection] = upstream._shared.wire._client._idle  # type: ignore[attr-defined]
        assert not connection._body
