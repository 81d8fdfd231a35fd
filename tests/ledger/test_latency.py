"""How long calls take, and how often they fail."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from gateway.connector import ConnectorFault
from gateway.ledger.latency import Latency, Spread, ended_calls, latencies
from gateway.ledger.trace import CallLine, call_lines
from gateway.store.ports import EventFilter
from tests.pipeline.gate import Gate, answer


def line(tool: str, took_ms: int | None, *attempts: Mapping[str, Any], outcome: str = "succeeded") -> CallLine:
    ended = {"attempts": list(attempts)} if attempts else {}
    return CallLine(
        1, "c", 0, "a", "", "", (), "", "", tool, outcome, "", "", "", (), (), "", took_ms, "", "", (), {}, ended
    )


async def each_of(*lines: CallLine) -> AsyncIterator[CallLine]:
    for one in lines:
        yield one


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        ([7], Spread(7, 7, 7, 7)),
        ([3, 1, 2], Spread(2, 3, 3, 3)),
        (list(range(1, 101)), Spread(50, 95, 99, 100)),
        (list(range(1000, 0, -1)), Spread(500, 950, 990, 1000)),
    ],
)
def test_a_percentile_is_the_value_that_so_many_do_not_exceed(values: list[int], spread: Spread) -> None:
    assert Spread.of(values) == spread


async def test_servers_come_before_their_tools_and_sum_them_up() -> None:
    found = await latencies(
        each_of(
            line("pay.send", 100, {"ms": 60}, {"ms": 30}),
            line("pay.send", 300, {"ms": 290}, outcome="unknown"),
            line("pay.list", 20, {"ms": 10}),
            line("mail.send", 5, {"ms": 4}, outcome="failed"),
        )
    )
    assert [(each.of, each.calls, each.failed, each.attempts) for each in found] == [
        ("mail.*", 1, 1, 1),
        ("mail.send", 1, 1, 1),
        ("pay.*", 3, 1, 4),
        ("pay.list", 1, 0, 1),
        ("pay.send", 2, 1, 3),
    ]
    assert found[2].whole == Spread(100, 300, 300, 300)
    assert found[2].server == Spread(30, 290, 290, 290)


async def test_what_no_server_was_asked_for_and_what_is_under_way_does_not_count() -> None:
    note = {"fallback": "pay.list", "code": "unusable", "reason": "no"}
    lines = line("pay.list", 3), line("pay.list", None, {"ms": 1}), line("pay.list", 3, note, outcome="failed")
    assert await latencies(each_of(*lines)) == []


async def test_an_attempt_at_a_fallback_is_one_at_the_tool_that_stood_in() -> None:
    other = {"ms": 9, "fallback": "mirror.list"}
    only = await latencies(each_of(line("pay.list", 30, {"ms": 20}, other), line("mirror.list", 7, {"ms": 6})))
    assert {each.of: each.server for each in only if each.server} == {
        "mirror.*": Spread(6, 9, 9, 9),
        "mirror.list": Spread(6, 9, 9, 9),
        "pay.*": Spread(20, 20, 20, 20),
        "pay.list": Spread(20, 20, 20, 20),
    }
    [server, tool] = await latencies(each_of(line("pay.list", 30, other)))
    assert (server.server, tool.server) == (None, None)


async def test_what_a_gateway_recorded_is_what_is_counted() -> None:
    gate = Gate()
    gate.servers["payments"].calls += [answer(), answer(isError=True)]
    await gate.run("payments_pay", idempotency_key="a")
    await gate.run("payments_list", {})
    await gate.run("payments_pay", idempotency_key="a")  # answered from the record
    await gate.run("nowhere", {})
    found = await latencies(call_lines(gate.store, EventFilter(limit=100)))
    assert [(each.of, each.calls, each.failed) for each in found] == [
        ("payments.*", 2, 1),
        ("payments.list", 1, 1),
        ("payments.pay", 1, 0),
    ]
    assert [(each.asked, each.unmet) for each in found] == [(2, 0), (0, 0), (0, 0)]
    assert all(isinstance(each, Latency) and each.whole.p50 == 0 for each in found)  # its clock stands still


async def test_calls_that_ended_in_a_time_are_told_as_they_ended() -> None:
    gate = Gate()
    gate.servers["payments"].calls += [ConnectorFault("gone", code="rejected"), *[answer()] * 60]
    began = gate.clock.now_ms()
    for _ in range(60):
        await gate.run("payments_list", {})
    await gate.clock.sleep(60)
    await gate.run("payments_list", {})
    found = [each async for each in ended_calls(gate.store, began, began + 60_000)]
    assert [(at - began, tool, code) for at, tool, code, _ in found[:2]] == [
        (0, "payments.list", "rejected"),
        (0, "payments.list", ""),
    ]
    assert (len(found), [each["code"] for each in found[0][3]]) == (60, ["rejected"])
    assert [each async for each in ended_calls(gate.store, began + 120_000, began + 180_000)] == []


async def test_what_servers_failed_is_counted_by_server() -> None:
    gone, fine = {"ms": 1, "code": "unavailable"}, {"ms": 1, "code": "ok"}
    found = await latencies(
        each_of(
            line("pay.send", 1, gone, outcome="unknown"), line("pay.send", 1, gone, fine), line("pay.list", 1, fine)
        )
    )
    assert [(each.of, each.asked, each.unmet) for each in found] == [
        ("pay.*", 3, 1),
        ("pay.list", 0, 0),
        ("pay.send", 0, 0),
    ]
