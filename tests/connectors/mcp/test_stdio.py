"""A server over pipes: every answer to its own call, and nothing a server writes harms another call."""

import asyncio
import json
import logging
from typing import Any

import pytest

from connectors.mcp.error_log import ErrorLog
from gateway.connector import ConnectorFault
from tests.connectors.mcp.conftest import Start, asked, build, fault_of, stdio
from tests.fixtures.clock import FakeClock

ERAS = ["modern", "legacy"]


def text(result: Any) -> Any:
    return result["content"][0]["text"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_is_answered_in_either_era(start: Start, era: str) -> None:
    upstream = await start(stdio(era))
    assert json.loads(text(await upstream.call(asked("echo", {"n": 1})))) == {"n": 1}
    assert await upstream.tools() == [{"name": "echo", "inputSchema": {"type": "object"}, "x-unknown": None}]
    assert upstream.traits("echo") is None


@pytest.mark.parametrize("era", ERAS)
async def test_a_hundred_calls_at_once_each_get_their_own_answer(start: Start, era: str) -> None:
    upstream = await start(stdio(era))
    results = await asyncio.gather(*(upstream.call(asked("echo", {"n": n})) for n in range(100)))
    assert [json.loads(text(result))["n"] for result in results] == list(range(100))


async def test_a_modern_call_carries_the_envelope_the_agents_meta_and_the_key(start: Start) -> None:
    upstream = await start(stdio("modern"))
    meta = {"traceparent": "00-1", "progressToken": 1, "io.modelcontextprotocol/logLevel": "debug", "x": None}
    params = json.loads(text(await upstream.call(asked("params", {"a": 1}, meta=meta, idempotency_key="k1"))))
    client = params["_meta"].pop("io.modelcontextprotocol/clientInfo")
    assert client["name"] == "toolgate"
    assert params == {
        "name": "params",
        "arguments": {"a": 1},
        "_meta": {
            "traceparent": "00-1",
            "x": None,
            "io.toolgate/idempotency-key": "k1",
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }


async def test_a_legacy_call_without_meta_carries_none(start: Start) -> None:
    upstream = await start(stdio("legacy"))
    assert json.loads(text(await upstream.call(asked("params")))) == {"name": "params", "arguments": {}}


@pytest.mark.parametrize("tool", ["garbage", "foreign", "text-id", "changed", "stderr-flood"])
async def test_what_answers_nothing_is_ignored(start: Start, tool: str) -> None:
    upstream = await start(stdio("modern"))
    assert json.loads(text(await upstream.call(asked(tool, {"n": 7})))) == {"n": 7}


async def test_the_first_of_two_answers_counts_and_the_next_call_gets_its_own(start: Start) -> None:
    upstream = await start(stdio("modern"))
    assert text(await upstream.call(asked("duplicate"))) == "first"
    assert text(await upstream.call(asked("echo", {"n": 2}))) == '{"n": 2}'


async def test_a_batch_is_taken_for_the_messages_in_it(start: Start) -> None:
    upstream = await start(stdio("legacy"))
    assert text(await upstream.call(asked("batch"))) == "both"
    assert text(await upstream.call(asked("echo", {"n": 2}))) == '{"n": 2}'


async def test_an_answer_in_pieces_is_put_together(start: Start) -> None:
    upstream = await start(stdio("legacy"))
    assert await upstream.call(asked("half-lines")) == {"content": []}


@pytest.mark.parametrize(
    ("tool", "why"),
    [
        ("truncated", "not JSON"),
        ("oversize", "more than 2000 bytes .max_message_bytes."),
        ("oversize-id-last", "too large"),
        ("both", "not a JSON-RPC response"),
        ("not-an-object", "not an object"),
    ],
)
async def test_an_unusable_answer_ends_its_own_call_only(start: Start, tool: str, why: str) -> None:
    upstream = await start(stdio("modern", max_message_bytes=2000))
    bystander = asyncio.ensure_future(upstream.call(asked("ask")))
    with pytest.raises(ConnectorFault, match=why) as caught:
        await upstream.call(asked(tool, {"bytes": 200_000}))
    assert (caught.value.code, caught.value.sent, caught.value.retryable) == ("contract_broken", True, False)
    assert len(json.loads(text(await bystander))) == 4


async def test_an_oversized_line_without_a_name_is_skipped(start: Start) -> None:
    upstream = await start(stdio("modern", max_message_bytes=2000))
    assert text(await upstream.call(asked("oversize-nameless", {"bytes": 5000}))) == "still here"


async def test_an_answer_of_exactly_the_limit_is_taken(start: Start) -> None:
    upstream = await start(stdio("legacy", max_message_bytes=300_000))
    assert len(text(await upstream.call(asked("oversize", {"bytes": 299_000})))) == 299_000


async def test_five_megabytes_are_taken_unless_the_configuration_says_otherwise(start: Start) -> None:
    upstream = await start(stdio("legacy"))
    assert len(text(await upstream.call(asked("oversize", {"bytes": 5_000_000})))) == 5_000_000


async def test_a_server_may_ping_and_nothing_else(start: Start) -> None:
    upstream = await start(stdio("legacy"))
    ping, *others = json.loads(text(await upstream.call(asked("ask"))))
    assert ping == {"jsonrpc": "2.0", "id": "s-ping", "result": {}}
    assert [(each["id"], each["error"]["code"]) for each in others] == [
        ("s-roots/list", -32601),
        ("s-sampling/createMessage", -32601),
        ("s-elicitation/create", -32601),
    ]


async def test_a_hanging_call_times_out_and_the_server_is_told(start: Start) -> None:
    upstream = await start(stdio("modern"))
    with pytest.raises(ConnectorFault) as caught:
        await upstream.call(asked("hang", timeout_s=0.1))
    assert (caught.value.code, caught.value.sent) == ("timeout", True)
    assert len(json.loads(text(await upstream.call(asked("seen"))))) == 1


async def test_a_cancelled_call_is_cancelled_at_the_server_and_others_go_on(start: Start) -> None:
    upstream = await start(stdio("legacy"))
    doomed = asyncio.ensure_future(upstream.call(asked("hang")))
    await upstream.call(asked("echo"))
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    assert len(json.loads(text(await upstream.call(asked("seen"))))) == 1


async def test_a_servers_error_is_a_refusal_in_its_own_words_made_harmless(start: Start) -> None:
    token = "Bearer s3cret-token"
    upstream = await start(stdio("modern", env={"TOKEN": token}), redact=lambda text: text.replace("4111", "****"))
    message = f"no\r\n\x1b[31msuch card 4111 for {token} or s3cret-token " + "x" * 2000
    with pytest.raises(ConnectorFault) as caught:
        await upstream.call(asked("error", {"message": message}))
    fault = caught.value
    assert (fault.code, fault.retryable) == ("rejected", False)
    assert fault.message.startswith("fault: The server refused: no [31msuch card **** for *** or *** xxx")
    assert len(fault.message) < 600
    assert "(code -32000)" in fault.message


async def test_listeners_hear_that_tools_changed(start: Start) -> None:
    upstream = await start(stdio("modern"))
    heard: list[str] = []
    upstream.on_notice(lambda *_: heard.append("changed"))
    await upstream.call(asked("changed"))
    assert heard == ["changed"]


async def test_a_crash_ends_every_call_in_flight_and_the_next_use_starts_a_new_server(start: Start) -> None:
    upstream = await start(stdio("modern", env={"TOKEN": "s3cret-token"}))
    await upstream.call(asked("echo"))
    hanging = asyncio.ensure_future(upstream.call(asked("hang")))
    await upstream.call(asked("echo"))
    with pytest.raises(ConnectorFault, match="ended in the middle") as crash:
        await upstream.call(asked("crash"))
    with pytest.raises(ConnectorFault) as bystander:
        await hanging
    for caught in (crash, bystander):
        assert (caught.value.code, caught.value.sent) == ("unavailable", True)
    assert "about to crash with ***" in crash.value.detail
    assert text(await upstream.call(asked("echo", {"n": 1}))) == '{"n": 1}'


async def test_a_server_that_keeps_crashing_is_restarted_ever_more_slowly() -> None:
    clock = FakeClock()
    upstream = build(stdio("modern"), clock=clock)
    waits: list[float] = []
    await upstream.open()
    try:
        for _ in range(3):
            with pytest.raises(ConnectorFault, match="ended in the middle"):
                await upstream.call(asked("crash"))
            with pytest.raises(ConnectorFault, match="being restarted") as caught:
                await upstream.call(asked("echo"))
            assert not caught.value.sent
            assert caught.value.retry_after_s is not None
            waits.append(caught.value.retry_after_s)
            await clock.sleep(waits[-1])
    finally:
        await upstream.close()
    assert waits == [0.5, 1.0, 2.0]


async def test_a_server_that_writes_a_flood_of_what_is_not_mcp_is_ended(start: Start) -> None:
    upstream = await start(stdio("modern"))
    await upstream.call(asked("echo"))
    with pytest.raises(ConnectorFault, match="flood of what is not MCP") as caught:
        await upstream.call(asked("noise"))
    assert (caught.value.code, caught.value.sent) == ("unavailable", True)
    assert text(await upstream.call(asked("echo", {"n": 1}))) == '{"n": 1}'


def impatient(upstream: Any) -> None:
    upstream._shared.wire._mute_s = 0.05


async def test_a_server_that_is_stuck_is_ended_and_the_next_call_finds_another(start: Start) -> None:
    upstream = await start(stdio("modern"))
    impatient(upstream)
    await upstream.call(asked("echo"))
    assert (await fault_of(upstream.call(asked("stuck", timeout_s=0.2)))).code == "timeout"
    fault = await fault_of(upstream.call(asked("echo", timeout_s=20)))
    assert (fault.code, "answered nothing any more" in fault.message) == ("unavailable", True)
    assert text(await upstream.call(asked("echo", {"n": 1}))) == '{"n": 1}'


async def test_a_server_that_still_answers_others_or_is_busy_with_an_older_call_is_not_stuck(start: Start) -> None:
    upstream = await start(stdio("modern"))
    impatient(upstream)
    older = asyncio.ensure_future(upstream.call(asked("busy", timeout_s=20)))
    await asyncio.sleep(0)
    assert (await fault_of(upstream.call(asked("hang", timeout_s=0.2)))).code == "timeout"
    assert text(await older) == "done"
    assert (await fault_of(upstream.call(asked("hang", timeout_s=0.2)))).code == "timeout"
    process = upstream._shared.wire._child  # type: ignore[attr-defined]
    assert text(await upstream.call(asked("busy", timeout_s=20))) == "done"
    assert upstream._shared.wire._child is process  # type: ignore[attr-defined]


async def test_the_last_words_of_a_server_count(start: Start) -> None:
    upstream = await start(stdio("modern"))
    assert text(await upstream.call(asked("last-words"))) == "goodbye"


async def test_a_server_that_closes_its_output_is_replaced(start: Start) -> None:
    upstream = await start(stdio("modern"))
    await upstream.call(asked("echo"))
    with pytest.raises(ConnectorFault) as caught:
        await upstream.call(asked("close-stdout"))
    assert caught.value.sent
    assert text(await upstream.call(asked("echo", {"n": 1}))) == '{"n": 1}'


async def test_a_server_that_stops_reading_is_not_fed_without_end(start: Start) -> None:
    upstream = await start(stdio("modern", max_message_bytes=1024))
    blocked = asyncio.ensure_future(upstream.call(asked("stderr-flood")))
    big = {"x": "y" * 9_000_000}
    flooding = [asyncio.ensure_future(upstream.call(asked("hang", big, timeout_s=5))) for _ in range(4)]
    done, _ = await asyncio.wait(flooding, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    faults = [task.exception() for task in done]
    assert any(isinstance(fault, ConnectorFault) and not fault.sent for fault in faults)
    for task in (blocked, *flooding):
        task.cancel()
    await asyncio.gather(blocked, *flooding, return_exceptions=True)


async def test_a_server_that_dies_at_once_says_why(caplog: pytest.LogCaptureFixture) -> None:
    upstream = build(stdio("modern", "die-at-start"))
    with caplog.at_level(logging.INFO), pytest.raises(ConnectorFault) as caught:
        await upstream.open()
    await upstream.close()
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)
    assert "no licence" in caught.value.detail
    assert "fault: cannot start: no licence" in caplog.messages


@pytest.mark.parametrize(
    "section",
    [
        {"command": "/no/such/program"},
        {"command": "sh", "cwd": "/no/such/directory"},
    ],
)
async def test_a_program_that_cannot_be_started_is_unavailable_and_nothing_was_sent(section: dict[str, Any]) -> None:
    upstream = build(section)
    with pytest.raises(ConnectorFault, match="cannot be started") as caught:
        await upstream.open()
    await upstream.close()
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)


async def test_a_server_that_never_answers_fails_to_open_in_time() -> None:
    upstream = build(stdio("modern", "deaf", start_timeout_s=0.2, stop={"grace_s": 0.1}))
    with pytest.raises(ConnectorFault, match="did not start in time") as caught:
        await upstream.open()
    await upstream.close()
    assert (caught.value.code, caught.value.sent) == ("timeout", False)


async def test_a_closed_upstream_takes_no_calls_and_may_be_opened_again(start: Start) -> None:
    upstream = await start(stdio("legacy"))
    await upstream.close()
    await upstream.close()
    with pytest.raises(ConnectorFault, match="not open") as caught:
        await upstream.call(asked("echo"))
    assert not caught.value.sent
    await upstream.open()
    assert text(await upstream.call(asked("echo", {"n": 1}))) == '{"n": 1}'


async def test_closing_ends_calls_in_flight(start: Start) -> None:
    upstream = await start(stdio("modern"))
    hanging = asyncio.ensure_future(upstream.call(asked("hang")))
    await upstream.call(asked("echo"))
    await upstream.close()
    with pytest.raises(ConnectorFault, match="stopped"):
        await hanging


async def test_standard_error_is_logged_bounded_and_redacted(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    upstream = await start(stdio("modern"))
    with caplog.at_level(logging.INFO, logger="toolgate.server"):
        await upstream.call(asked("stderr-flood"))
        await upstream.close()
    assert 1 <= len(caplog.messages) <= 100
    assert max(map(len, caplog.messages)) < 2100


async def test_a_flood_on_standard_error_says_later_how_much_was_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    log = ErrorLog("fault", str, clock)
    with caplog.at_level(logging.INFO, logger="toolgate.server"):
        for n in range(150):
            log.feed(b"line %d\n" % n)
        await clock.sleep(11)
        log.feed(b"one\n")
        await clock.sleep(11)
        log.feed(b"more\n")
    assert caplog.messages[99:] == ["fault: line 99", "fault: 50 more lines not logged", "fault: one", "fault: more"]
    assert log.tail() == "line 147 | line 148 | line 149 | one | more"
