"""One request, one bounded answer: what the other side does wrong ends that call, and only that call."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.mcp.test_config import certificate
from tests.connectors.rest.api import Api, Seen, answer
from tests.connectors.rest.building import asked, build, fault_of, http_section, text
from tests.connectors.rest.conftest import Start

FIND = "GET /v1/find"
OK = answer({"ok": True})


def raw(data: bytes) -> Callable[[Seen], bytes]:
    return lambda seen: data


async def test_a_request_says_who_asks_for_what_and_wants_it_uncompressed(api: Api, start: Start) -> None:
    api.on(FIND, OK)
    upstream = await start(http_section(api, headers={"X-Team": "payments"}))
    result = await upstream.call(asked("find"))
    assert result == {"content": [{"type": "text", "text": '{"ok":true}'}], "structuredContent": {"ok": True}}
    (seen,) = api.seen
    assert seen.headers == {
        "host": f"127.0.0.1:{api.port}",
        "accept-encoding": "identity",
        "x-team": "payments",
        "accept": "application/json, */*;q=0.5",
    }


async def test_connections_are_kept_and_cookies_are_not(api: Api, start: Start) -> None:
    api.on(FIND, answer({}, Set_Cookie="session=of-somebody-else"))
    upstream = await start(http_section(api))
    for _ in range(3):
        await upstream.call(asked("find"))
    assert api.connections == 1
    assert all("cookie" not in seen.headers for seen in api.seen)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (raw(b""), "unavailable"),
        (raw(b"SMTP ready\r\n\r\nConnection: close"), "unavailable"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc"), "unavailable"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\nConnection: close\r\n\r\n"), "unavailable"),
        (answer(b"x" * 5000), "contract_broken"),
        (answer(b"\x1f\x8b", Content_Encoding="gzip"), "contract_broken"),
        (answer(b"{nonsense"), "contract_broken"),
        (answer(b'{"a": 1, "a": 2}'), "contract_broken"),
        (raw(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"), "unavailable"),
    ],
)
async def test_an_answer_that_cannot_be_used_ends_its_call_and_no_other(
    api: Api, start: Start, reply: Callable[[Seen], bytes], code: str
) -> None:
    api.on(FIND, reply)
    upstream = await start(http_section(api, answers={"max_bytes": 4096}))
    fault = await fault_of(upstream, asked("find"))
    assert (fault.code, fault.sent) == (code, True)
    api.on(FIND, OK)
    assert text(await upstream.call(asked("find"))) == '{"ok":true}'


async def test_a_failed_call_leaves_calls_beside_it_alone(api: Api, start: Start) -> None:
    upstream = await start(http_section(api))
    api.on(FIND, raw(b""))
    api.on("POST /v1/make", OK)
    async with asyncio.TaskGroup() as group:
        bad = [group.create_task(fault_of(upstream, asked("find"))) for _ in range(10)]
        good = [group.create_task(upstream.call(asked("make"))) for _ in range(10)]
    assert {task.result().code for task in bad} == {"unavailable"}
    assert all(task.result()["structuredContent"] == {"ok": True} for task in good)


async def test_an_answer_that_never_ends_is_left_at_the_deadline(api: Api, start: Start) -> None:
    api.on(FIND, OK)
    upstream = await start(http_section(api))
    await upstream.call(asked("find"))
    api.on(FIND, raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
    call = asked("find", timeout_s=0.5)
    fault = await fault_of(upstream, call)
    assert (fault.code, fault.sent) == ("timeout", True)
    assert (call.measure.status, call.measure.received) == (200, 3)


async def test_calls_that_are_given_up_in_the_middle_leave_room_for_others(api: Api, start: Start) -> None:
    upstream = await start(http_section(api))
    api.on(FIND, raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
    for _ in range(3):
        calls = [asyncio.ensure_future(upstream.call(asked("find"))) for _ in range(64)]
        while not (api.seen and len(api.seen) % 64 == 0):
            await asyncio.wait(calls, timeout=0.01)
        for call in calls:
            call.cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in done)
        api.seen.clear()
    api.on(FIND, OK)
    async with asyncio.TaskGroup() as group:
        results = [group.create_task(upstream.call(asked("find"))) for _ in range(100)]
    assert all(text(each.result()) == '{"ok":true}' for each in results)


async def test_a_request_that_never_left_says_so(api: Api, start: Start) -> None:
    upstream = await start(http_section(api, base_url=f"http://127.0.0.1:{api.port}/v1"))
    await api.__aexit__()
    fault = await fault_of(upstream, asked("make"))
    assert (fault.code, fault.sent) == ("unavailable", False)
    assert fault.message == f"crm: No connection to http://127.0.0.1:{api.port}."


async def test_a_private_address_is_not_reached_unless_it_is_named(api: Api, start: Start) -> None:
    upstream = await start(http_section(api, egress={"allow_private": []}))
    fault = await fault_of(upstream, asked("find"))
    assert (fault.code, fault.sent) == ("rejected", False)
    assert "egress.allow_private does not name it" in fault.message
    assert api.connections == 0


async def test_a_request_outside_the_rules_is_not_sent(api: Api, start: Start) -> None:
    rules = [{"host": "127.0.0.1", "methods": ["GET"], "path": "/v1"}]
    upstream = await start(http_section(api, egress={"allow": rules, "allow_private": ["127.0.0.1"]}))
    assert (await fault_of(upstream, asked("make"))).code == "rejected"
    assert api.connections == 0


@pytest.mark.parametrize("where", ["/v1/other?page=2", "{url}/v1/other?page=2"])
async def test_a_read_follows_a_redirect_within_its_origin(api: Api, start: Start, where: str) -> None:
    api.on(FIND, answer(status="307 Temporary Redirect", Location=where.format(url=api.url)))
    api.on("GET /v1/other", OK)
    upstream = await start(http_section(api, headers={"X-Team": "t"}))
    assert text(await upstream.call(asked("find"))) == '{"ok":true}'
    assert [(seen.target, seen.headers["x-team"]) for seen in api.seen] == [
        ("/v1/find", "t"),
        ("/v1/other?page=2", "t"),
    ]


@pytest.mark.parametrize(
    "where",
    [
        "http://localhost:{port}/v1/other",
        "https://127.0.0.1:{port}/v1/other",
        "http://127.0.0.1:1/v1/other",
        "//127.0.0.1:{port}/v1/other",
        "http://169.254.169.254/latest/meta-data",
        "/admin",
        "/v1/../admin",
        "other",
        "",
    ],
)
async def test_a_redirect_to_anywhere_else_is_not_followed(api: Api, start: Start, where: str) -> None:
    api.on(FIND, answer(status="302 Found", Location=where.format(port=api.port)))
    upstream = await start(http_section(api))
    assert (await fault_of(upstream, asked("find"))).code == "rejected"
    assert len(api.seen) == 1


async def test_a_redirect_is_not_followed_for_ever_nor_for_a_write(api: Api, start: Start) -> None:
    api.on(FIND, answer(status="302 Found", Location="/v1/find"))
    api.on("POST /v1/make", answer(status="308 Permanent Redirect", Location="/v1/find"))
    upstream = await start(http_section(api))
    assert "redirects without end" in (await fault_of(upstream, asked("find"))).message
    assert len(api.seen) == 4
    assert "HTTP 308" in (await fault_of(upstream, asked("make"))).detail
    assert len(api.seen) == 5


async def test_it_can_be_opened_again_and_closed_at_any_time(api: Api) -> None:
    api.on(FIND, OK)
    upstream = build(http_section(api))
    assert (await fault_of(upstream, asked("find"))).sent is False
    await upstream.close()
    for _ in range(2):
        await upstream.open()
        await upstream.call(asked("find"))
        await upstream.close()
    assert api.connections == 2


async def test_what_is_no_tool_is_refused(api: Api, start: Start) -> None:
    upstream = await start(http_section(api))
    for call in (asked("drop"), asked("find", method="resources/read")):
        assert (await fault_of(upstream, call)).code == "rejected"
    assert upstream.traits("drop") is None


async def test_a_service_is_reached_over_tls_only_if_its_certificate_is_trusted(start: Start, tmp_path: Path) -> None:
    pem, context = certificate(tmp_path)
    async with Api(tls=context) as api:
        api.on(FIND, OK)
        trusting = await start(http_section(api, egress={"ca_file": str(pem)}, auth={"type": "bearer", "token": "t"}))
        assert text(await trusting.call(asked("find"))) == '{"ok":true}'
        fault = await fault_of(await start(http_section(api)), asked("make"))
        assert (fault.code, fault.sent) == ("unavailable", False)
        assert len(api.seen) == 1


def name_of(result: Any) -> str:
    return str(result["name"])


async def test_the_tools_are_those_of_the_configuration(api: Api, start: Start) -> None:
    upstream = await start(http_section(api))
    assert [name_of(each) for each in await upstream.tools()] == ["find", "make"]
