"""A call that finds a connection free is sent before anybody waits for it, and ends as any other."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from gateway.connector import ITSELF, Begun, Behalf, ConnectorFault, Refusal, ToolCall, Upstream
from tests.connectors.mcp.client import ALL, Client
from tests.connectors.mcp.conftest import Start, asked, fault_of, text
from tests.fixtures import http_faults as faults
from tests.fixtures.fault_http import Exchange, FaultServer, Seen
from tests.fixtures.leftovers import left_of, without_collecting

ERAS = ["modern", "legacy"]
TOOLS = [{"name": "echo", "inputSchema": {"type": "object"}}, {"name": 'ta"sk %d', "inputSchema": {"type": "object"}}]


async def streamed(exchange: Exchange) -> None:
    exchange.stream()
    exchange.chunk(b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}\n\n')
    exchange.chunk(b"data: " + exchange.echo() + b"\n\n")
    exchange.chunk(b"")


async def failing(exchange: Exchange) -> None:
    exchange.http(exchange.result(content=[], isError=True))


async def refused(exchange: Exchange) -> None:
    exchange.http(exchange.error(-32602, "no such thing"))


async def both(exchange: Exchange) -> None:
    exchange.reply(result={"content": []}, error={"code": 1, "message": "and this"})


async def listed(exchange: Exchange) -> None:
    exchange.reply(result=["content"])


async def odd(exchange: Exchange) -> None:
    exchange.reply(result={"resultType": "odd"})


async def another(exchange: Exchange) -> None:
    exchange.http(exchange.result(content=[]).replace(b'"id": ', b'"id": 1'))


async def busy(exchange: Exchange) -> None:
    exchange.http(b"later", "503 Service Unavailable", "Retry-After: 3")


async def garbage(exchange: Exchange) -> None:
    exchange.raw(b"what?\r\n\r\n")


async def cut(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
    exchange.reset()


async def asks(exchange: Exchange) -> None:
    params = exchange.seen.message["params"]
    if "inputResponses" in params:
        exchange.http(exchange.echo())
    else:
        question = {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}
        exchange.http(exchange.result(resultType="input_required", inputRequests={"q": question}, requestState="s"))


HOW: list[Callable[[Exchange], Awaitable[None]]] = [
    *(streamed, failing, refused, both, listed, odd, another, busy, garbage, cut, asks, faults.hang)
]


@pytest.fixture
def lasting(start: Start) -> Start:
    """As `start`; its connections do not end for being idle, however slow the machine is."""

    async def begin(section: Mapping[str, Any], **lent: Any) -> Upstream:
        upstream = await start(section, **lent)
        client = upstream._shared.wire._client  # type: ignore[attr-defined]
        client.limits = replace(client.limits, idle_s=inf)
        for connection in client._open:
            connection._limits = client.limits
        await upstream.tools()
        return upstream

    return begin


async def hurried(upstream: Upstream, call: ToolCall) -> Mapping[str, Any]:
    """Wait for a call that has begun as one does who would rather have no coroutine for it."""
    begun = upstream.call(call)
    assert isinstance(begun, Begun)
    try:
        result = begun.result(await begun.answer)
    except ConnectorFault:
        result = None
    return await begun if result is None else result


async def patient(upstream: Upstream, call: ToolCall) -> Mapping[str, Any]:
    begun = upstream.call(call)
    assert isinstance(begun, Begun)
    return await begun


async def late(upstream: Upstream, call: ToolCall) -> Mapping[str, Any]:
    """Make a call that finds no connection free."""
    taken(upstream)
    work = upstream.call(call)
    assert not isinstance(work, Begun)
    return await work


def taken(upstream: Upstream) -> None:
    """Have no connection be free."""
    upstream._shared.wire._client._idle.clear()  # type: ignore[attr-defined]


async def end_of(work: Awaitable[Mapping[str, Any]]) -> Any:
    try:
        return await work
    except ConnectorFault as fault:
        return fault.code, fault.message, fault.detail, fault.sent, fault.rpc, fault.retry_after_s


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_ends_alike_however_it_is_waited_for(
    lasting: Start, era: str, how: Callable[[Exchange], Awaitable[None]]
) -> None:
    async with FaultServer(era, faults={"do": how}) as server:
        upstream = await lasting({"url": server.url})
        for _ in range(10):  # from now on the numbers of requests are of one length
            await upstream.call(asked("echo"))
        ends = []
        for way in (hurried, patient, late):
            await upstream.call(asked("echo"))  # leaves a connection behind for the next
            client = Client(answers={"elicitation/create": {"action": "decline"}})
            call = asked("do", {"n": 1}, back=client, timeout_s=0.1 if how is faults.hang else 20.0)
            ended = await end_of(way(upstream, call))
            ends.append((ended, call.measure.status, call.measure.received, client.heard, client.asked))
        assert ends[0] == ends[1] == ends[2]


def _said(seen: Seen) -> tuple[Any, ...]:
    message = {name: value for name, value in seen.message.items() if name != "id"}
    headers = [
        (name, value) for name, value in seen.headers.items() if name not in ("content-length", "mcp-session-id")
    ]
    return seen.target, headers, list(seen.message), message


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"idempotency_key": "k1"},
        {"meta": {"acme": 1}},
        {"back": Client()},
        {"back": Client(logs_by_default=True)},
        {"back": Client(declares={"extensions": {"x": {}}})},
        {"back": Client(capabilities=ALL, takes_input_required=True)},
    ],
    ids=["nothing", "key", "meta", "client", "logs", "declares", "can"],
)
@pytest.mark.parametrize("era", ERAS)
async def test_a_server_is_told_the_same_however_a_call_is_sent(lasting: Start, era: str, more: dict[str, Any]) -> None:
    async with FaultServer(era, tools=TOOLS, capabilities={"logging": {}}) as server:
        upstream = await lasting({"url": server.url})
        for tool in ('ta"sk %d', "echo", "echo"):
            server.seen.clear()
            call = asked(tool, {"n": 1, "é": "%b"}, **more)
            first = upstream.call(call)
            assert isinstance(first, Begun) is (era == "modern" or not call.back.capabilities)
            assert await first == await late(upstream, call)
            one, other = server.calls(tool)
            assert _said(one) == _said(other)
            assert one.message["id"] != other.message["id"]


class Tokens:
    """A credential whose every token is refused at some time, of which nothing is `at_hand` where it is `slow`."""

    def __init__(self, *, slow: bool = False) -> None:
        self._slow = slow
        self.number = 1

    def at_hand(self, behalf: Behalf) -> Mapping[str, str] | None:
        return None if self._slow else {"Authorization": f"Bearer t{self.number}"}

    async def headers(self, behalf: Behalf) -> Mapping[str, str]:
        return {"Authorization": f"Bearer t{self.number}"}

    def concerning(self, behalf: Behalf) -> Behalf:
        return ITSELF

    async def refused(self, behalf: Behalf, sent: Mapping[str, str], refusal: Refusal) -> None:
        assert sent == {"Authorization": f"Bearer t{self.number}"}
        self.number += 1
        if refusal.again:
            raise ConnectorFault(f"refused {refusal.status}", code="credential_expired")


@pytest.mark.parametrize(("taken_from", "told"), [(1, 1), (2, 2), (3, "credential_expired")])
@pytest.mark.parametrize("era", ERAS)
async def test_a_credential_is_shown_and_renewed_alike_however_a_call_is_sent(
    lasting: Start, era: str, taken_from: int, told: Any
) -> None:
    least = 0

    async def guarded(exchange: Exchange) -> None:
        if int(exchange.seen.headers["authorization"].removeprefix("Bearer t")) < least:
            exchange.http(b"", "401 Unauthorized")
        else:
            exchange.http(exchange.echo())

    async with FaultServer(era, faults={"do": guarded}) as server:
        ends = []
        for slow in (False, True):
            least, credential = taken_from, Tokens(slow=slow)
            section = {"url": server.url, "headers": {"X-Key": "1"}}
            upstream = await lasting(section, credential=lambda sought, made=credential: made)
            await upstream.tools()
            server.seen.clear()
            call = asked("do", {"n": 1})
            ends.append((await end_of(upstream.call(call) if slow else hurried(upstream, call)), credential.number))
            ends[-1] = (*ends[-1], call.measure.received, [_said(seen) for seen in server.calls("do")])
        assert ends[0] == ends[1]
        assert ends[0][0][0] == told if told == "credential_expired" else ends[0][1] == told


async def test_a_call_whose_credential_no_header_can_carry_is_not_sent(lasting: Start) -> None:
    async with FaultServer(faults={"hang": faults.hang}) as server:
        tokens = Tokens()
        upstream = await lasting({"url": server.url, "headers": {"X-Key": "1"}}, credential=lambda sought: tokens)
        await upstream.tools()
        tokens.number = "\n"  # type: ignore[assignment]
        work = upstream.call(asked("echo"))
        assert not isinstance(work, Begun)
        fault = await fault_of(work)
        assert (fault.code, fault.sent, server.calls("echo")) == ("credential_expired", False, [])


async def test_what_a_tool_wants_in_headers_is_sent_from_the_next_listing_on(lasting: Start) -> None:
    async with FaultServer() as server:
        upstream = await lasting({"url": server.url})
        for n, schema in enumerate(({}, {"region": {"type": "string", "x-mcp-header": "Region"}})):
            server.tools = [{"name": "echo", "inputSchema": {"type": "object", "properties": schema}}]
            await upstream.tools()
            await hurried(upstream, asked("echo", {"region": f"eu{n}"}))
        assert [seen.headers.get("mcp-param-region") for seen in server.calls("echo")] == [None, "eu1"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_is_called_off_ends_at_its_server_and_alone(lasting: Start, era: str) -> None:
    async with FaultServer(era, faults={"hang": faults.hang}) as server:
        upstream = await lasting({"url": server.url})
        begun = upstream.call(asked("hang", back=Client()))
        assert isinstance(begun, Begun)
        while not server.calls("hang"):
            await asyncio.sleep(0)
        begun.call_off()
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
        if era == "legacy":
            while not server.methods("notifications/cancelled"):
                await asyncio.sleep(0)
            [told] = server.methods("notifications/cancelled")
            assert told.message["params"]["requestId"] == server.calls("hang")[0].message["id"]
        assert server.calls("echo")[0].connection != server.calls("hang")[0].connection
        assert not upstream._shared.wire._ears.listening  # type: ignore[attr-defined]


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_call_that_is_called_off_as_its_answer_comes_ends_none_that_has_its_connection(
    lasting: Start, waiting: bool
) -> None:
    async with FaultServer() as server:
        upstream = await lasting({"url": server.url})
        first = upstream.call(asked("echo", {"n": 1}))
        assert isinstance(first, Begun)
        answer, seconds = first.answer, []
        task = asyncio.ensure_future(first) if waiting else None

        def go_on(done: object) -> None:
            seconds.append(upstream.call(asked("echo", {"n": 2})))
            first.call_off() if task is None else task.cancel()

        answer.add_done_callback(go_on)
        await asyncio.wait({answer})
        assert text(await seconds[0]) == {"n": 2}
        assert len({seen.connection for seen in server.calls("echo")}) == 1


async def test_a_session_that_is_gone_is_made_anew_for_a_call_that_was_sent_over_it(lasting: Start) -> None:
    async with FaultServer("legacy") as server:
        upstream = await lasting({"url": server.url})
        server.sessions.clear()
        assert text(await hurried(upstream, asked("echo", {"n": 1}))) == {"n": 1}
        assert len(server.methods("initialize")) == 2


async def test_of_two_calls_over_a_lost_session_the_second_does_not_give_up_the_new_one(lasting: Start) -> None:
    async with FaultServer("legacy") as server:
        upstream = await lasting({"url": server.url})
        await asyncio.gather(*(upstream.call(asked("echo", {"n": n})) for n in range(2)))
        server.sessions.clear()
        one, other = (upstream.call(asked("echo", {"n": n})) for n in range(2))
        assert isinstance(one, Begun)
        assert isinstance(other, Begun)
        assert [text(await each) for each in (one, other)] == [{"n": 0}, {"n": 1}]
        assert len(server.methods("initialize")) == 2


async def test_nothing_is_left_of_a_call_or_of_its_fault(lasting: Start) -> None:
    async with FaultServer(faults={"do": cut}) as server:
        upstream = await lasting({"url": server.url})
        with without_collecting():
            assert (await end_of(hurried(upstream, asked("do"))))[0] == "unavailable"
            await asyncio.sleep(0)  # the loop has it in hand still, which woke the test with it
            assert left_of("in the middle of its answer") == []
