"""What spans say of tokens: each call of a model once, in both encodings of OTLP, and junk refused."""

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.budget.telemetry import ModelUsage, usage_in
from gateway.model.errors import RequestFault

JSON, PROTOBUF = "application/json", "application/x-protobuf"
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m-1",
    "gen_ai.usage.input_tokens": 900,
    "gen_ai.usage.output_tokens": 120,
}


def spans(*told: dict[str, Any]) -> bytes:
    """A request in JSON, as exporters of JavaScript send it: numbers as texts, ids in hex."""
    listed = [
        {
            "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": f"{number:016x}",
            "name": "chat",
            "kind": 3,
            "newToUs": True,
            "attributes": [
                {"key": key, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
                for key, value in attributes.items()
            ],
        }
        for number, attributes in enumerate(told, 1)
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": listed}]}]}).encode()


def packed(*told: dict[str, Any]) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, attributes in enumerate(told, 1):
        span = scope.spans.add(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"))
        for key, value in attributes.items():
            kind = "string_value" if isinstance(value, str) else "int_value"
            setattr(span.attributes.add(key=key).value, kind, value)
    return bytes(request.SerializeToString())


@pytest.mark.parametrize(("write", "media_type"), [(spans, JSON), (packed, PROTOBUF)])
def test_each_call_of_a_model_is_told_once_and_what_sums_them_up_is_not(write: Any, media_type: str) -> None:
    older = {"gen_ai.usage.prompt_tokens": 5, "gen_ai.response.model": "m-2"}
    whole = {**CHAT, "gen_ai.operation.name": "invoke_agent"}
    found = usage_in(write(CHAT, whole, {"http.request.method": "POST"}, older), media_type)
    assert [(each.model, each.input_tokens, each.output_tokens) for each in found] == [("m-1", 900, 120), ("m-2", 5, 0)]
    assert len({each.span for each in found}) == 2
    assert found == usage_in(write(CHAT, whole, {}, older), media_type)  # an export that is sent again is the same


@pytest.mark.parametrize("count", [-5, "900", 0])
def test_what_is_no_number_of_tokens_counts_for_nothing(count: Any) -> None:
    assert usage_in(spans({**CHAT, "gen_ai.usage.input_tokens": count}), JSON) == [
        ModelUsage(usage_in(spans(CHAT), JSON)[0].span, "m-1", 0, 120)
    ]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"5", JSON),
        (b"{", JSON),
        (b"\xff", JSON),
        (b'{"resourceSpans":' + b"[" * 5000, JSON),
        (b'{"resourceSpans": 5}', JSON),
        (b"\xff\xff", PROTOBUF),
        (packed(CHAT)[:-3], PROTOBUF),
    ],
)
def test_what_is_no_export_is_refused(body: bytes, media_type: str) -> None:
    with pytest.raises(RequestFault):
        usage_in(body, media_type)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"\x0a\x00" * 100_001, PROTOBUF),
        (ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{}] * 100_000}]).SerializeToString(), PROTOBUF),
        (packed(*[{}] * 100_000), PROTOBUF),
        (packed({f"a{number}": 1 for number in range(100_000)}), PROTOBUF),
        (b'{"resourceSpans":[' + b",".join([b"{}"] * 100_001) + b"]}", JSON),
    ],
    ids=["resources", "scopes", "spans", "attributes", "json"],
)
def test_an_export_of_too_many_parts_is_refused(body: bytes, media_type: str) -> None:
    with pytest.raises(RequestFault) as refused:
        usage_in(body, media_type)
    assert refused.value.code == "too_large"
