"""What could have been left out of a run, and nothing else."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from gateway.ledger.trace import CallLine, call_lines
from gateway.ledger.waste import LARGE, Waste, wasted
from gateway.store.ports import EventFilter
from tests.pipeline.gate import PERMIT_ALL, PRECONDITION, Gate, answer

SENT = {"ms": 4, "bytes": 100, "code": "ok"}


def line(answered: Any, *attempts: Mapping[str, Any], outcome: str = "succeeded", digest: str = "d1") -> CallLine:
    ended = {"result": {"content": answered}, "attempts": list(attempts)}
    asked = {"arguments_digest": digest}
    return CallLine(
        1,
        "c",
        0,
        "a",
        "",
        "",
        (),
        "",
        "run_1",
        "crm.find",
        outcome,
        "",
        "",
        "",
        (),
        (),
        "",
        7,
        "",
        "",
        (),
        asked,
        ended,
    )


async def told(*lines: CallLine) -> list[tuple[str, int, int, int]]:
    async def each() -> AsyncIterator[CallLine]:
        for one in lines:
            yield one

    return [(found.kind, found.times, found.bytes, found.ms) for found in await wasted(each())]


async def test_the_same_read_with_the_same_answer_is_waste_from_the_second_on() -> None:
    read = line("x", SENT)
    assert await told(read, read, read) == [("repeated", 2, 200, 14)]


async def test_another_answer_argument_run_or_agent_is_none() -> None:
    read = line("x", SENT)
    others = (line("y", SENT), line("y", SENT, digest="d2"), replace(read, run_id="run_2"), replace(read, agent="b"))
    assert await told(read, *others) == []


async def test_what_the_gateway_answered_itself_is_none() -> None:
    read = line("x", SENT)
    assert await told(read, replace(read, replayed_from="c0"), replace(read, source="the answer to c0")) == []
    assert await told(read, line("x"), replace(read, duration_ms=None)) == []


async def test_attempts_before_the_last_are_retries_but_for_hedges() -> None:
    failed = {"ms": 30, "bytes": 5, "code": "unavailable"}
    assert await told(line("x", failed, failed, SENT)) == [("retried", 2, 10, 60)]
    assert await told(line("x", SENT, {**SENT, "hedge": True})) == []


async def test_a_long_answer_is_told_with_its_bytes() -> None:
    assert await told(line("x", {**SENT, "bytes": LARGE + 1})) == [("long answer", 1, LARGE + 1, 0)]
    assert await told(line("x", {**SENT, "bytes": LARGE}, outcome="failed")) == []


async def test_real_calls_that_were_made_and_refused_again_are_found() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls += [answer({"result": "failed"})] * 3
    for tool in ("fraud_check", "fraud_check", "payments_pay", "payments_pay", "payments_pay", "fraud_check"):
        await gate.run(tool)
    found = await wasted(call_lines(gate.store, EventFilter(limit=100)))
    assert {(each.tool, each.kind): each.times for each in found} == {
        ("fraud.check", "repeated"): 2,
        ("payments.pay", "refused again"): 2,
    }
    assert all(isinstance(each, Waste) and each.advice for each in found)
