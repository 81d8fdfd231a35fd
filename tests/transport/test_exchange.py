"""One POST on its connection: who sent it, and whether they are still there."""

import asyncio
import gc
import json
from collections.abc import Coroutine
from typing import Any
from weakref import ref

import pytest
from starlette.types import Message

from gateway.model.identity import ClientInfo
from gateway.store.ports import EventKind
from gateway.transport.back import HttpBack
from gateway.transport.exchange import Exchange
from gateway.transport.head import KNOWN, Head
from gateway.transport.kernel import Answer
from gateway.transport.said import NOTHING, client_info
from gateway.transport.wire import ClientGone, RpcRequest
from tests.pipeline.gate import PAYMENT, settle
from tests.transport.front import ENVELOPE, MODERN, Front, bearer

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Client:
    """The other end of a connection. It stays until it `leaves`; `sent` is what it got."""

    def __init__(self, *bodies: bytes) -> None:
        self._bodies = list(bodies)
        self._left = asyncio.Event()
        self.sent: list[Message] = []

    def leaves(self) -> None:
        self._left.set()

    async def receive(self) -> Message:
        if self._bodies:
            return {"type": "http.request", "body": self._bodies.pop(0), "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def exchange(
    client: Client | None = None, params: dict[str, Any] | None = None, peer: Any = ("127.0.0.1", 1), **headers: str
) -> Exchange:
    client = client or Client()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    made = Exchange({"headers": raw, "client": peer}, client.receive, client.send)
    if params is not None:
        made.asks(RpcRequest("m", params, 1, {}))
    return made


async def watched(request: Exchange, work: Coroutine[Any, Any, Answer], *, until_gone: bool, **after: float) -> Answer:
    """Await some work as either era does."""
    request.watch(until_gone=until_gone, **after)
    try:
        return await work
    except asyncio.CancelledError:
        request.explain()
        raise
    finally:
        request.unwatch()


@pytest.mark.parametrize(
    ("authorization", "kind", "value"),
    [
        ("Bearer abc", "bearer", "abc"),
        ("bearer  abc ", "bearer", "abc"),
        ("Bearer ", "none", ""),
        ("Bearer", "none", ""),
        ("Basic abc", "none", ""),
        ("", "none", ""),
    ],
)
def test_only_a_bearer_token_is_a_credential(authorization: str, kind: str, value: str) -> None:
    credential = exchange(authorization=authorization).caller().credential
    assert (credential.kind, credential.value) == (kind, value)


@pytest.mark.parametrize(
    ("peer", "loopback"),
    [
        (("127.0.0.1", 1), True),
        (("::1", 1), True),
        (("192.0.2.1", 1), False),
        (("127.0.0.1.evil", 1), False),
        (None, False),
    ],
)
def test_only_a_peer_on_this_machine_is_local(peer: Any, loopback: bool) -> None:
    assert exchange(peer=peer).caller().loopback is loopback


def test_requests_with_the_same_head_are_each_of_their_own_peer() -> None:
    known = Head([])

    def of(address: str) -> Exchange:
        client = Client()
        return Exchange({"headers": [], "client": (address, 1), KNOWN: known}, client.receive, client.send)

    call = RpcRequest("tools/call", {}, 1, {})
    first = of("192.0.2.1").caller("", NOTHING.client)
    known.agreed = NOTHING, first
    assert of("192.0.2.1").caller("", NOTHING.client) is of("192.0.2.1").agreed(call) is first
    assert of("192.0.2.2").agreed(call) is None
    assert [of(f"192.0.2.{n}").caller().address for n in (1, 2, 1)] == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]


def test_the_bridge_says_that_it_speaks_stdio() -> None:
    assert exchange(toolgate_transport="stdio").caller("2025-11-25", session="s").transport == "stdio"
    caller = exchange().caller("2025-11-25", ClientInfo("c", "1"), "s")
    assert (caller.transport, caller.era, caller.session, caller.client.name) == ("http", "2025-11-25", "s", "c")


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"00-{TRACE}-b7ad6b7169203331-01-more", TRACE),
        (f"00-{TRACE}", None),
        ("00-short-b7ad6b7169203331-01", None),
        (f"00-{TRACE[:-1]}!-b7ad6b7169203331-01", None),
        ("", None),
    ],
)
def test_a_trace_is_taken_from_a_well_formed_traceparent_only(traceparent: str, trace: str | None) -> None:
    assert exchange(traceparent=traceparent).caller().trace == trace
    assert exchange(params={"_meta": {"traceparent": traceparent}}).caller().trace == trace


def test_the_trace_in_the_message_wins_over_the_header() -> None:
    other = "f" * 32
    meta = {"_meta": {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}}
    assert exchange(params=meta, traceparent=f"00-{other}-b7ad6b7169203331-01").caller().trace == TRACE
    assert exchange(params={"_meta": {"traceparent": 7}}).caller().trace is None


@pytest.mark.parametrize("params", [None, {}, {"_meta": None}, {"_meta": "text"}, {"_meta": []}])
def test_a_message_without_meta_has_an_empty_one(params: Any) -> None:
    assert exchange(params=params).said.meta == {}


@pytest.mark.parametrize(
    ("said", "info"),
    [
        ({"name": "c", "version": "1", "more": 1}, ClientInfo("c", "1")),
        ({"name": "n" * 500, "version": "v" * 500}, ClientInfo("n" * 100, "v" * 50)),
        ({"name": 7, "version": None}, ClientInfo("7", "None")),
        ({}, ClientInfo()),
        (None, ClientInfo()),
        ("text", ClientInfo()),
    ],
)
def test_what_a_client_says_of_itself_is_bounded(said: Any, info: ClientInfo) -> None:
    assert client_info(said) == info


async def test_work_that_is_done_at_once_is_not_watched() -> None:
    async def work() -> Answer:
        return Answer({"a": 1})

    client = Client()
    client.leaves()
    assert (await watched(exchange(client), work(), until_gone=True)).result == {"a": 1}


async def test_slow_work_is_cancelled_once_its_client_has_gone() -> None:
    client = Client(b"late", b"parts")
    ended: list[str] = []

    async def work() -> Answer:
        client.leaves()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        raise AssertionError

    with pytest.raises(ClientGone):
        await watched(exchange(client), work(), until_gone=True)
    assert ended == ["cancelled"]


async def test_slow_work_of_a_client_that_stays_is_answered() -> None:
    client = Client()
    may_end = asyncio.Event()

    async def work() -> Answer:
        asyncio.get_running_loop().call_later(0.1, may_end.set)  # long enough to be watched
        await may_end.wait()
        return Answer({"a": 1})

    assert (await watched(exchange(client), work(), until_gone=True)).result == {"a": 1}


async def test_a_cancellation_from_within_is_passed_on() -> None:
    async def work() -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.ensure_future(watched(exchange(), work(), until_gone=True))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_closed_connection_is_seen_without_waiting() -> None:
    gone, there, talking = Client(), Client(), Client(b"more")
    gone.leaves()
    assert await exchange(gone).client_gone() is True
    assert await exchange(there).client_gone() is False
    assert await exchange(talking).client_gone() is False


def call_of(front: Front, client: Client, **said: str) -> "asyncio.Task[None]":
    """Send a call over a connection that may close at any time."""
    era = {name.replace("_", "-"): value for name, value in said.items()} or {"mcp-session-id": front.session}
    headers = [
        (b"host", b"127.0.0.1:8750"),
        (b"content-type", b"application/json"),
        (b"authorization", bearer().encode()),
        *((name.encode(), value.encode()) for name, value in era.items()),
    ]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers, "client": ("127.0.0.1", 1)}

    async def send() -> None:
        await front.app(scope, client.receive, client.send)

    return asyncio.ensure_future(send())


def modern(tool: str) -> dict[str, str]:
    return {"mcp_protocol_version": MODERN, "mcp_method": "tools/call", "mcp_name": tool}


def calling(tool: str, arguments: str) -> bytes:
    params = f'{{"name":"{tool}","arguments":{arguments},"_meta":{json.dumps(ENVELOPE)}}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode()


PAY = '{"payment_id":"p_17","payee":"ACME","amount":250}'


async def test_a_client_that_leaves_a_slow_read_ends_it_and_gets_nothing() -> None:
    front = Front()
    front.gate.servers["payments"].calls.append(asyncio.Event())
    client = Client(calling("payments_list", "{}"))
    task = call_of(front, client, **modern("payments_list"))
    client.leaves()
    await task
    await settle()
    assert client.sent == []
    [event] = [event for event in await front.gate.events() if event.tool == "payments.list"]
    assert "cancelled" in event.body


async def test_a_payment_goes_on_when_its_client_leaves_and_is_answered_to_whoever_repeats_it() -> None:
    front = Front()
    may_pay = asyncio.Event()
    front.gate.servers["payments"].calls.append(may_pay)
    client = Client(calling("payments_pay", PAY))
    task = call_of(front, client, **modern("payments_pay"))
    client.leaves()
    await task
    assert (client.sent, front.delivered) == ([], [])
    may_pay.set()
    await settle()
    assert EventKind.CALL_FINISHED in await front.gate.kinds()
    again = await front.modern("tools/call", {"name": "payments_pay", "arguments": PAYMENT})
    assert "io.toolgate/replayed-from" in again.json()["result"]["_meta"]
    assert len(front.gate.servers["payments"].asked) == 1


async def test_a_legacy_client_that_leaves_calls_nothing_off() -> None:
    front = Front()
    front.session = await front.initialize()
    may_end = asyncio.Event()
    front.gate.servers["payments"].calls.append(may_end)
    client = Client(calling("payments_list", "{}"))
    task = call_of(front, client)
    client.leaves()
    await asyncio.wait({task}, timeout=0.1)
    assert not task.done()
    may_end.set()
    await task
    assert [event.kind for event in await front.gate.events() if event.tool == "payments.list"] == [
        EventKind.CALL_RECORDED
    ]


async def test_an_answer_to_a_closed_connection_does_not_count_as_delivered() -> None:
    front = Front()
    front.session = await front.initialize()
    gone = Client(calling("payments_pay", PAY))
    gone.leaves()
    await call_of(front, gone)
    assert front.delivered == []
    there = Client(calling("payments_pay", PAY))
    await call_of(front, there)
    assert len(front.delivered) == 1
    assert len(front.gate.servers["payments"].asked) == 1


async def test_a_client_that_waits_long_is_sent_a_stream_unless_it_takes_none() -> None:
    for streaming in (True, False):
        client, may_end = Client(), asyncio.Event()
        waiting = exchange(client)
        back = HttpBack(client.send, None, "", streaming)
        waiting.goes_back(back)

        async def work(may_end: asyncio.Event = may_end) -> Answer:
            await may_end.wait()
            return Answer({})

        task = asyncio.ensure_future(watched(waiting, work(), until_gone=True, stream_after_s=0.001))
        await asyncio.sleep(0.1)
        assert bool(client.sent) is streaming
        may_end.set()
        await task
        assert await waiting.answer(200, {}) is streaming
        assert client.sent[-1].get("more_body", False) is False


async def test_a_wait_without_a_way_back_is_just_a_wait() -> None:
    may_end = asyncio.Event()

    async def work() -> Answer:
        await may_end.wait()
        return Answer({"a": 1})

    task = asyncio.ensure_future(watched(exchange(), work(), until_gone=False, stream_after_s=0.001))
    await asyncio.sleep(0.1)
    may_end.set()
    assert (await task).result == {"a": 1}


def test_what_a_client_repeats_is_read_once_and_what_it_changes_anew() -> None:
    made = exchange(authorization="Bearer abc")
    head, cycle = made.head, type("Whole", (), {"body": b"{}"})()

    def after(params: dict[str, Any], client: ClientInfo | None = None) -> tuple[Any, Any]:
        again = exchange()
        again.head, again.cycle = head, cycle
        again.asks(RpcRequest("m", params, 1, {}))
        return again.said, again.caller("2026-07-28", client or again.said.client)

    def meta(name: str) -> dict[str, Any]:
        return {"_meta": {"io.modelcontextprotocol/clientInfo": {"name": name, "version": "1"}}}

    said, caller = after(meta("one"))
    assert after(meta("one")) == (said, caller)
    assert after(meta("one"))[1] is caller
    assert after(meta("two"))[1].client == ClientInfo("two", "1")
    assert after(meta("one"))[1].client == ClientInfo("one", "1")
    assert after(meta("one"), ClientInfo("three"))[1].client == ClientInfo("three")


def test_what_is_large_is_not_remembered() -> None:
    made = exchange()
    made.cycle = type("Whole", (), {"body": b" " * 4097})()  # type: ignore[assignment]  # of a cycle, only this counts
    made.asks(RpcRequest("m", {"_meta": {"a": "b"}}, 1, {}))
    assert made.said.meta == {"a": "b"}
    assert made.head.said is not made.said


class Kept(dict[str, Any]):
    """What can be seen to go."""


@pytest.mark.parametrize("stream_after_s", [60, 0])
async def test_a_request_that_was_looked_after_goes_at_its_end_and_waits_for_no_collection(stream_after_s: int) -> None:
    client, scope = Client(), Kept(headers=[], client=("127.0.0.1", 1))
    request = Exchange(scope, client.receive, client.send)
    request.watch(until_gone=True, stream_after_s=stream_after_s)
    request.look_after()
    await settle()
    gone = ref(scope)
    gc.disable()
    try:
        request.unwatch()
        del request, scope
        await settle()
        assert gone() is None
    finally:
        gc.enable()
