"""Every kind of request goes out whole and comes back whole, a server's errors among it."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from gateway.connector import ConnectorFault, Offer, ToolCall
from tests.connectors.mcp.conftest import Start, asked, build, fault_of, stdio
from tests.fixtures.fault_http import Exchange, Fault, FaultServer
from tests.fixtures.leftovers import left_of, without_collecting

ERAS = ["modern", "legacy"]
SAYS_ALL = {"prompts": {}, "resources": {"subscribe": True}, "x-unknown": None}


def of(method: str, params: dict[str, Any], **more: Any) -> ToolCall:
    return ToolCall(method, params, "call_test", 20.0, method=method, **more)


async def nothing(exchange: Exchange) -> None:
    exchange.http(exchange.result(odd=None))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("resources/read", {"uri": "test://a b", "x": None}, "test://a b"),
        ("prompts/get", {"name": "zürich", "arguments": {"a": "1"}}, "=?base64?esO8cmljaA==?="),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a"}}, None),
        ("tasks/get", {"taskId": "t1"}, "t1"),
        ("tasks/cancel", {"taskId": "t1"}, "t1"),
        ("tasks/list", {}, None),
        ("prompts/get", {"name": 7}, None),
    ],
)
async def test_params_go_out_as_they_are_and_headers_repeat_their_name(
    start: Start, era: str, method: str, params: dict[str, Any], name: str | None
) -> None:
    async with FaultServer(era, on_method={method: nothing}) as server:
        upstream = await start({"url": server.url})
        result = await upstream.call(of(method, params, meta={"traceparent": "00-1"}, more={"requestState": "s"}))
        assert result.items() >= {"odd": None}.items()
        [seen] = server.methods(method)
        meta = seen.message["params"].pop("_meta")
        assert seen.message["params"] == {**params, "requestState": "s"}
        assert meta["traceparent"] == "00-1"
        assert seen.headers.get("mcp-method") == (method if era == "modern" else None)
        assert seen.headers.get("mcp-name") == (name if era == "modern" else None)


@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_call_carries_more_params_beside_its_arguments(start: Start, era: str) -> None:
    async with FaultServer(era) as server:
        upstream = await start({"url": server.url})
        await upstream.call(asked("echo", {"n": 1}, more={"inputResponses": {"a": {}}, "requestState": "s"}))
        params = server.calls("echo")[0].message["params"]
        params.pop("_meta", None)
        assert params == {
            "name": "echo",
            "arguments": {"n": 1},
            "inputResponses": {"a": {}},
            "requestState": "s",
        }


def failing(code: int, message: str, data: Any = None) -> Fault:
    async def fail(exchange: Exchange) -> None:
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        exchange.reply(error=error)

    return fail


async def test_a_servers_error_is_kept_with_its_secrets_taken_out(start: Start) -> None:
    data = {"uri": "test://t0ken-value", "t0ken-value": [1, None, True, "is t0ken-value"]}
    async with FaultServer(on_method={"resources/read": failing(-32002, "No t0ken-value\nhere", data)}) as server:
        upstream = await start({"url": server.url, "headers": {"Authorization": "Bearer t0ken-value"}})
        fault = await fault_of(upstream.call(of("resources/read", {"uri": "test://x"})))
        assert fault.code == "rejected"
        assert fault.rpc == {
            "code": -32002,
            "message": "No ***\nhere",
            "data": {"uri": "test://***", "***": [1, None, True, "is ***"]},
        }


async def test_an_error_without_data_is_told_without_data(start: Start) -> None:
    async with FaultServer(on_method={"prompts/get": failing(7, "no")}) as server:
        upstream = await start({"url": server.url})
        fault = await fault_of(upstream.call(of("prompts/get", {"name": "p"})))
        assert fault.rpc == {"code": 7, "message": "no"}


async def test_a_refusal_by_http_status_alone_is_no_json_rpc_error(start: Start) -> None:
    async def refuse(exchange: Exchange) -> None:
        exchange.http(b"I am a teapot", "418 I'm a teapot")

    async with FaultServer(on_method={"prompts/get": refuse}) as server:
        upstream = await start({"url": server.url})
        assert (await fault_of(upstream.call(of("prompts/get", {"name": "p"})))).rpc is None


@pytest.mark.parametrize("era", ERAS)
async def test_nothing_is_left_of_an_error_that_nobody_has_any_more(start: Start, era: str) -> None:
    async with FaultServer(era, on_method={"tools/call": failing(-32000, "left behind")}) as server:
        upstream = await start({"url": server.url})
        with without_collecting():
            with suppress(ConnectorFault):
                await upstream.call(asked("do"))
            await asyncio.sleep(0)
            assert left_of("left behind") == []


async def test_a_refused_handshake_keeps_the_servers_error() -> None:
    async with FaultServer("legacy", on_method={"initialize": failing(-32000, "not today")}) as server:
        upstream = build({"url": server.url})
        fault = await fault_of(upstream.open())
        await upstream.close()
        assert (fault.sent, fault.rpc) == (False, {"code": -32000, "message": "not today"})


@pytest.mark.parametrize("era", ERAS)
async def test_what_a_server_says_of_itself_is_offered_also_after_it_was_closed(start: Start, era: str) -> None:
    async with FaultServer(era, capabilities=SAYS_ALL, instructions="Be kind.") as server:
        upstream = build({"url": server.url})
        assert upstream.offer() == Offer()
        await upstream.open()
        version = "2026-07-28" if era == "modern" else "2025-11-25"
        offer = Offer(SAYS_ALL, "Be kind.", version)
        assert upstream.offer() == offer
        await upstream.close()
        assert upstream.offer() == offer


async def test_an_offer_out_of_shape_is_an_empty_one(start: Start) -> None:
    async def odd(exchange: Exchange) -> None:
        exchange.http(exchange.result(supportedVersions=["2026-07-28"], capabilities=[], instructions=7))

    async with FaultServer(on_method={"server/discover": odd}) as server:
        upstream = await start({"url": server.url})
        assert upstream.offer() == Offer({}, "", "2026-07-28")


LISTS = [
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
]


@pytest.mark.parametrize(("method", "member", "key"), LISTS)
async def test_other_lists_are_read_whole_too(start: Start, method: str, member: str, key: str) -> None:
    async def page(exchange: Exchange) -> None:
        second = "cursor" in exchange.seen.message["params"]
        more = {} if second else {"nextCursor": "2"}
        exchange.http(exchange.result(**{member: [{key: f"{second}", "x": None}], **more}))

    async with FaultServer(on_method={method: page}, capabilities=SAYS_ALL) as server:
        upstream = await start({"url": server.url})
        assert await upstream.listed(method) == [{key: "False", "x": None}, {key: "True", "x": None}]


@pytest.mark.parametrize(("method", "member", "key"), LISTS)
async def test_a_list_that_a_server_does_not_have_is_empty(start: Start, method: str, member: str, key: str) -> None:
    async with FaultServer() as server:
        upstream = await start({"url": server.url})
        assert list(await upstream.listed(method)) == []
        assert server.methods(method) == []
    async with FaultServer(capabilities=SAYS_ALL) as server:
        upstream = await start({"url": server.url})
        assert list(await upstream.listed(method)) == []
        assert len(server.methods(method)) == 1


async def test_a_list_that_fails_is_a_fault(start: Start) -> None:
    async with FaultServer(on_method={"prompts/list": failing(-32603, "no")}, capabilities=SAYS_ALL) as server:
        upstream = await start({"url": server.url})
        assert (await fault_of(upstream.listed("prompts/list"))).rpc == {"code": -32603, "message": "no"}


@pytest.mark.parametrize(("capabilities", "refused"), [({}, False), ({"tools": {}}, True)])
async def test_a_server_without_tools_has_none_and_one_that_promised_them_fails(
    start: Start, capabilities: dict[str, Any], refused: bool
) -> None:
    answers = {"tools/list": failing(-32601, "no such method")}
    async with FaultServer(on_method=answers, capabilities=capabilities) as server:
        upstream = await start({"url": server.url})
        if refused:
            assert (await fault_of(upstream.tools())).code == "rejected"
        else:
            assert list(await upstream.tools()) == []


async def test_a_task_is_handed_on_as_it_is(start: Start) -> None:
    task = {"resultType": "task", "task": {"taskId": "t"}, "x": None}
    async with FaultServer(on_method={"tools/call": _answering(task)}) as server:
        upstream = await start({"url": server.url})
        assert await upstream.call(asked("long")) == task


async def test_a_result_of_an_unknown_kind_is_none_and_does_not_say_that_nothing_was_done(start: Start) -> None:
    async with FaultServer(on_method={"tools/call": _answering({"resultType": "later"})}) as server:
        upstream = await start({"url": server.url})
        fault = await fault_of(upstream.call(asked("long")))
        assert (fault.code, "'later'" in fault.message) == ("contract_broken", True)


def _answering(result: dict[str, Any]) -> Fault:
    async def answer(exchange: Exchange) -> None:
        exchange.http(exchange.result(**result))

    return answer


@pytest.mark.parametrize("era", ERAS)
async def test_another_method_than_a_call_is_asked_over_stdio_too(start: Start, era: str) -> None:
    upstream = await start(stdio(era))
    fault = await fault_of(upstream.call(of("prompts/get", {"name": "p"})))
    assert fault.rpc == {"code": -32601, "message": "Method not found"}
