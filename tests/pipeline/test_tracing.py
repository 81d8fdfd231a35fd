"""Calls told to a collector as spans: whose they were and how they ended, without what they were about."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import SecretStr, ValidationError

from gateway.ledger.trace import one_line
from gateway.pipeline.outbox import Place
from gateway.pipeline.spans import spans_of
from gateway.pipeline.telling import Telling
from gateway.pipeline.tracing import Tracing
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter
from gateway.telemetry.config import TracesSection
from tests.approval.test_messenger import Receiver
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PERMIT_ALL, PRECONDITION, Gate, answer, request
from tests.pipeline.test_outbox import FullStore, receiver

__all__ = ["receiver"]
Span = Mapping[str, Any]


@asynccontextmanager
async def exporting(store: MemoryStore, receiver: Receiver, folder: Path) -> AsyncIterator[Telling]:
    headers = {"x-api-key": SecretStr("s3cret")}
    section = TracesSection(url=f"http://127.0.0.1:{receiver.port}/v1/traces", headers=headers)
    telling = Telling(FakeClock())
    running = asyncio.create_task(Tracing(store, section, folder, telling).watch("staging", FakeClock()))
    try:
        yield telling
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def spans(body: bytes) -> list[Span]:
    [resource] = MessageToDict(ExportTraceServiceRequest.FromString(body))["resourceSpans"]
    assert said(resource["resource"])["deployment.environment.name"] == "staging"
    [scoped] = resource["scopeSpans"]
    found: list[Span] = scoped["spans"]
    return found


def said(about: Mapping[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in about["attributes"]}


async def paid(gate: Gate) -> None:
    """A payment that is denied, its check, which takes two attempts, and the payment."""
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    gate.servers["payments"].calls.append(answer({"receipt": "r_1"}))
    for tool in ("payments_pay", "fraud_check", "payments_pay"):
        await gate.run(tool)


async def test_calls_are_spans_of_one_trace_for_each_run_with_their_attempts_below(
    receiver: Receiver, tmp_path: Path
) -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    Place(tmp_path / "traces.seq").write(0)
    await paid(gate)
    async with exporting(gate.store, receiver, tmp_path):
        [(headers, body), *_] = await receiver.requests(1)
    assert (headers["x-api-key"], headers["content-type"]) == ("s3cret", "application/x-protobuf")
    denied, check, tried, pay, sent = spans(body)
    assert [each["name"] for each in (denied, check, pay)] == [
        "tools/call payments.pay",
        "tools/call fraud.check",
        "tools/call payments.pay",
    ]
    assert {len(b64decode(each["traceId"])) for each in (denied, check, pay)} == {16}
    assert check["traceId"] == pay["traceId"] == sent["traceId"]
    assert (tried["parentSpanId"], sent["parentSpanId"]) == (check["spanId"], pay["spanId"])
    assert [each["kind"] for each in (check, tried)] == ["SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"]
    assert (denied["status"]["code"], said(denied)["error.type"]) == ("STATUS_CODE_ERROR", "denied")
    assert "status" not in pay
    about = said(pay)
    assert (about["mcp.method.name"], about["gen_ai.operation.name"]) == ("tools/call", "execute_tool")
    assert (about["gen_ai.agent.id"], about["toolgate.outcome"]) == ("payer", "succeeded")
    assert about["toolgate.policies"] == {"values": [{"stringValue": "all"}]}
    assert int(pay["endTimeUnixNano"]) >= int(pay["startTimeUnixNano"]) > 1_700_000_000_000_000_000
    assert b"ACME" not in body
    assert b"r_1" not in body


async def test_a_collector_that_is_away_is_told_later_and_once(receiver: Receiver, tmp_path: Path) -> None:
    store = FullStore(FakeClock())
    gate = Gate(PERMIT_ALL, PRECONDITION, store=store)
    Place(tmp_path / "traces.seq").write(0)
    await paid(gate)
    receiver.statuses, store.unread = [503, 429], 1
    async with exporting(store, receiver, tmp_path) as telling:
        bodies = [body for _, body in await receiver.requests(3)]
        assert len(set(bodies)) == 1
        await gate.run("fraud_check")
        last = (await receiver.requests(4))[3][1]
        assert spans(last)[0]["name"] == "tools/call fraud.check"
        async with asyncio.timeout(30):
            while telling.problems:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("trace", ["z" * 32, "0" * 32, "\u0663" * 32])
async def test_a_client_that_names_its_trace_as_none_may_be_named_holds_no_export_up(
    receiver: Receiver, tmp_path: Path, trace: str
) -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    Place(tmp_path / "traces.seq").write(0)
    asked = request("payments_list", {})
    await gate.runner.run(replace(asked, caller=replace(asked.caller, trace=trace)))
    async with exporting(gate.store, receiver, tmp_path):
        [(_, body)] = (await receiver.requests(1))[:1]
    line = await one_line(gate.store, [event async for event in gate.store.events(EventFilter())][-1].call_id)
    assert line is not None
    assert line.asked["trace"] == trace
    assert spans_of(line)[0]["traceId"] == spans_of(replace(line, asked={}))[0]["traceId"]
    assert b64decode(spans(body)[0]["traceId"]).hex() == spans_of(line)[0]["traceId"]


async def test_a_collector_that_refuses_everything_holds_nothing_up(receiver: Receiver, tmp_path: Path) -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    Place(tmp_path / "traces.seq").write(0)
    await paid(gate)
    receiver.statuses = [400] * 8
    async with exporting(gate.store, receiver, tmp_path):
        await receiver.requests(8)
        await gate.run("fraud_check")
        assert len(spans((await receiver.requests(9))[8][1])) <= 2


async def test_a_new_collector_is_told_of_what_ends_from_now_on(receiver: Receiver, tmp_path: Path) -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    await paid(gate)
    async with exporting(gate.store, receiver, tmp_path):
        async with asyncio.timeout(30):
            while Place(tmp_path / "traces.seq").read() is None:
                await asyncio.sleep(0.01)
        await gate.run("payments_list", {})
        [(_, body)] = (await receiver.requests(1))[:1]
    assert {each["name"] for each in spans(body)} <= {"tools/call payments.list", "tools/call"}


async def test_spans_say_what_went_wrong_and_stay_in_their_clients_trace() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    line = await one_line(gate.store, (await gate.run("fraud_check")).call.id)
    assert line is not None
    failed = replace(
        line, ended={"result": {"isError": True}, "attempts": [{"n": 1, "started_ms": 5, "ms": 2, "code": "timeout"}]}
    )
    whole, attempt = spans_of(failed)
    assert (said(whole)["error.type"], said(attempt)["error.type"]) == ("tool_error", "timeout")
    assert (attempt["startTimeUnixNano"], attempt["endTimeUnixNano"]) == ("5000000", "7000000")
    own = "0af7651916cd43dd8448eb211c80319c"
    for name in (own, own.upper()):
        assert spans_of(replace(line, asked={**line.asked, "trace": name}))[0]["traceId"] == own
    assert spans_of(replace(line, tool="files.resources/read"))[0]["name"] == "resources/read"
    assert spans_of(replace(line, tool="made up", version=""))[0]["name"] == "tools/call"
    assert "status" not in spans_of(replace(line, outcome="waiting"))[0]
    assert (
        said(spans_of(replace(line, outcome="unknown", code="outcome_unknown"))[0])["error.type"] == "outcome_unknown"
    )
    assert spans_of(replace(line, run_id=""))[0]["traceId"] != whole["traceId"]


@pytest.mark.parametrize(
    "section",
    [
        {"url": "collector:4317"},
        {"url": "grpc://collector:4317"},
        {"url": "https://user:pass@collector/v1/traces"},
        {"url": "http://collector:4318/v1/traces", "headers": {"x-api-key": "k"}},
    ],
)
def test_a_collector_that_cannot_be_told_or_would_get_keys_in_the_clear_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TracesSection.model_validate(section)


def test_a_collector_in_the_cluster_needs_no_tls_where_no_key_is_sent() -> None:
    assert TracesSection.model_validate({"url": "http://collector:4318/v1/traces"}).headers == {}
