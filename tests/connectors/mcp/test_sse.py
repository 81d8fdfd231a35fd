"""The transport before Streamable HTTP: one stream for all answers, messages posted to where it says."""

import asyncio
from typing import Any

import pytest

from tests.connectors.mcp.client import Client
from tests.connectors.mcp.conftest import Start, asked, build, fault_of, text
from tests.fixtures import sse_faults
from tests.fixtures.fault_http import Exchange, FaultServer

QUESTION = {"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {"n": 1}}


def sse(server: FaultServer, **more: Any) -> dict[str, Any]:
    return {"type": "sse", "url": server.url, **more}


async def test_a_hundred_calls_at_once_each_get_their_own_answer_off_one_stream(start: Start) -> None:
    async with FaultServer("sse") as server:
        upstream = await start(sse(server))
        results = await asyncio.gather(*(upstream.call(asked("echo", {"n": n})) for n in range(100)))
        assert [text(result)["n"] for result in results] == list(range(100))
        assert len([seen for seen in server.seen if seen.verb == "GET"]) == 1
        assert {seen.target for seen in server.calls("echo")} == {"/messages?session=session-1"}
        [hello] = server.methods("initialize")
        assert hello.message["params"]["protocolVersion"] == "2025-11-25"
        assert upstream.offer().version == "2024-11-05"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254/latest", "//elsewhere.example/x", "https://127.0.0.1:1/x", "http://[::1", "/a b",
        "/\u00e9", "http://user@127.0.0.1/x", "/" + "x" * 3000,
    ],
)  # fmt: skip
async def test_a_place_for_messages_that_is_not_the_servers_own_is_sent_nothing(endpoint: str) -> None:
    async def elsewhere(x: Exchange) -> None:
        x.stream()
        x.chunk(f"event: endpoint\ndata: {endpoint}\n\n".encode())

    async with FaultServer("sse", on_method={"GET": elsewhere}) as server:
        upstream = build(sse(server))
        fault = await fault_of(upstream.open())
        assert (fault.code, fault.sent) == ("contract_broken", False)
        assert {seen.verb for seen in server.seen} == {"GET"}
        await upstream.close()


@pytest.mark.parametrize(
    ("status", "code"),
    [("200 OK", "contract_broken"), ("404 Not Found", "contract_broken"), ("503 No", "unavailable"),
     ("401 Unauthorized", "credential_expired"), ("307 There", "rejected")],
)  # fmt: skip
async def test_what_is_no_server_of_this_transport_is_told(status: str, code: str) -> None:
    async def page(x: Exchange) -> None:
        x.http(b"<html>", status)

    async with FaultServer("sse", on_method={"GET": page}) as server:
        upstream = build(sse(server))
        fault = await fault_of(upstream.open())
        assert (fault.code, fault.sent) == (code, False)
        await upstream.close()


async def test_a_server_that_never_names_a_place_fails_to_open_in_time() -> None:
    async def silent(x: Exchange) -> None:
        x.stream()

    async with FaultServer("sse", on_method={"GET": silent}) as server:
        upstream = build(sse(server, start_timeout_s=0.1))
        assert (await fault_of(upstream.open())).code == "timeout"
        await upstream.close()


async def test_the_end_of_the_stream_ends_every_call_in_flight_and_the_next_opens_another(start: Start) -> None:
    async def wait(x: Exchange) -> None:
        x.http(b"", "202 Accepted")

    async with FaultServer("sse", faults={"wait": wait}) as server:
        upstream = await start(sse(server))
        await upstream.call(asked("echo"))
        flying = [asyncio.ensure_future(fault_of(upstream.call(asked("wait")))) for _ in range(5)]
        while len(server.calls("wait")) < 5:
            await asyncio.sleep(0)
        server.streams["session-1"].reset()
        assert {(fault.code, fault.sent) for fault in await asyncio.gather(*flying)} == {("unavailable", True)}
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
        assert len(server.methods("initialize")) == 2


async def test_a_session_that_the_server_has_forgotten_is_made_anew_for_the_same_call(start: Start) -> None:
    async with FaultServer("sse") as server:
        upstream = await start(sse(server))
        await upstream.call(asked("echo"))
        server.streams.pop("session-1")
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
        assert [seen.target[-1] for seen in server.calls("echo")] == ["1", "1", "2"]
        assert len(server.methods("initialize")) == 2


async def test_what_a_server_says_and_asks_on_the_stream_reaches_the_client_it_is_for(start: Start) -> None:
    async def ask(x: Exchange) -> None:
        x.told.chunk(b"data: %b\n\n" % Exchange.encode(QUESTION))
        x.told.chunk(b'data: {"jsonrpc":"2.0","id":9,"method":"ping"}\n\n')
        while len(x.server.answers()) < 2:
            await asyncio.sleep(0)
        x.answer(x.echo())

    async with FaultServer("sse", faults={"ask": ask}) as server:
        upstream = await start(sse(server))
        client = Client(answers={QUESTION["method"]: {"x": 1}}, capabilities={"sampling": {}})
        await upstream.call(asked("ask", back=client))
        assert client.asked == [("sampling/createMessage", {"n": 1})]
        answers = {answer["id"]: answer["result"] for answer in server.answers()}
        assert answers == {"q": {"x": 1}, 9: {}}


async def test_an_answer_in_a_batch_is_an_answer(start: Start) -> None:
    async with FaultServer("sse", faults={"batch": sse_faults.answered_in_a_batch}) as server:
        upstream = await start(sse(server))
        assert text(await upstream.call(asked("batch", {"n": 1}))) == {"n": 1}


async def test_a_call_that_is_given_up_is_cancelled_at_the_server(start: Start) -> None:
    async def wait(x: Exchange) -> None:
        x.http(b"", "202 Accepted")

    async with FaultServer("sse", faults={"wait": wait}) as server:
        upstream = await start(sse(server))
        assert (await fault_of(upstream.call(asked("wait", timeout_s=0.05)))).code == "timeout"
        while not server.methods("notifications/cancelled"):
            await asyncio.sleep(0)
        [call], [cancelled] = server.calls("wait"), server.methods("notifications/cancelled")
        assert cancelled.message["params"]["requestId"] == call.message["id"]


async def test_closing_ends_calls_in_flight_and_opening_again_begins_anew(start: Start) -> None:
    async def wait(x: Exchange) -> None:
        x.http(b"", "202 Accepted")

    async with FaultServer("sse", faults={"wait": wait}) as server:
        upstream = await start(sse(server))
        flying = asyncio.ensure_future(fault_of(upstream.call(asked("wait"))))
        while not server.calls("wait"):
            await asyncio.sleep(0)
        await upstream.close()
        assert (await flying).code == "unavailable"
        assert not (await fault_of(upstream.call(asked("echo")))).sent
        await upstream.open()
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
