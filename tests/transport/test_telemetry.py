"""`POST /v1/traces`: counted once for known agents, against their budgets; nothing else of a span is kept."""

import gzip
from typing import Any

import pytest

from gateway.budget.budgets import Budgets, Told
from gateway.model.limit import MILLION
from gateway.store.ports import EventFilter, EventKind
from tests.budget.test_telemetry import CHAT, JSON, PROTOBUF, packed, spans
from tests.pipeline.gate import PAYMENT, SECRET, Gate
from tests.transport.front import Front, bearer

TOKENS = 1020


def front() -> Front:
    return Front(Gate(budgets=Budgets(Told({"agent:payer": {"model_tokens": "2000/day"}, "org": {"calls": "9/day"}}))))


async def post(known: Front, body: bytes, media_type: str = JSON, **headers: str) -> Any:
    said = {"authorization": bearer(), "content-type": media_type, **headers}
    return await known.send("POST", "/v1/traces", content=body, headers=said)


async def counted(known: Front) -> dict[str, float]:
    return {each.key: each.spent / MILLION for each in await known.gate.store.budget_counters()}


@pytest.mark.parametrize(("body", "media_type", "empty"), [(spans(CHAT), JSON, b"{}"), (packed(CHAT), PROTOBUF, b"")])
async def test_tokens_are_counted_once_however_often_they_are_sent(body: bytes, media_type: str, empty: bytes) -> None:
    known = front()
    for _ in range(3):
        answer = await post(known, body, media_type)
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, empty, media_type)
    assert await counted(known) == {"agent:payer|model_tokens|day": TOKENS}
    again = Front(known.gate)  # as after a restart
    assert (await post(again, body, media_type)).status_code == 200
    assert await counted(again) == {"agent:payer|model_tokens|day": TOKENS}
    await known.gate.store.verify()


async def test_an_agent_whose_models_used_up_what_there_is_makes_no_more_calls() -> None:
    known = front()
    await post(known, spans(CHAT, CHAT))
    refused = (await known.modern("tools/call", {"name": "fraud_check", "arguments": PAYMENT})).json()["result"]
    assert refused["_meta"]["io.toolgate/refusal"]["code"] == "budget_exceeded"
    assert refused["_meta"]["io.toolgate/refusal"]["budget"]["unit"] == "model_tokens"


async def test_of_a_span_only_its_id_its_model_and_its_tokens_are_kept() -> None:
    known = front()
    told = {**CHAT, "gen_ai.prompt": "the plan", "gen_ai.request.model": f"m {SECRET}"}
    await post(known, spans(told))
    [event] = [each async for each in known.gate.store.events(EventFilter()) if each.kind is EventKind.USAGE_REPORTED]
    assert (event.agent, event.tool) == ("payer", "gateway.usage")
    assert "the plan" not in event.body
    assert SECRET not in event.body
    assert "[900,120]" in event.body


async def test_strangers_and_what_is_no_export_change_nothing() -> None:
    known = front()
    body = spans(CHAT)
    assert (await post(known, body, authorization="Bearer x")).status_code == 401
    assert (await post(known, body, "text/plain")).status_code == 415
    assert (await post(known, body, **{"content-encoding": "br"})).status_code == 415
    assert (await post(known, body, **{"content-encoding": "gzip"})).status_code == 400
    assert (await post(known, b"5")).status_code == 400
    assert (await post(known, b" " * (4 * 1024 * 1024 + 1))).status_code == 413
    bomb = gzip.compress(b" " * (64 * 1024 * 1024))
    assert (await post(known, bomb, **{"content-encoding": "gzip"})).status_code == 413
    assert (await known.send("GET", "/v1/traces")).status_code == 405
    assert await counted(known) == {}


async def test_what_is_compressed_is_read_as_well() -> None:
    known = front()
    assert (await post(known, gzip.compress(spans(CHAT)), **{"content-encoding": "gzip"})).status_code == 200
    assert (await post(known, b"{}")).status_code == 200
    assert await counted(known) == {"agent:payer|model_tokens|day": TOKENS}
