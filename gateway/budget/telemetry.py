"""What agents' models used up, as the spans of their telemetry say it (OpenTelemetry's conventions for GenAI)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.model.errors import RequestFault

__all__ = ["MEDIA_TYPES", "ModelUsage", "usage_in"]

_JSON: Final = "application/json"
MEDIA_TYPES: Final = ("application/x-protobuf", _JSON)
"""The encodings of OTLP over HTTP."""

_INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_MODEL: Final = ("gen_ai.response.model", "gen_ai.request.model")
_OPERATION: Final = "gen_ai.operation.name"
_SUMS: Final = frozenset({"invoke_agent", "create_agent", "invoke_workflow", "execute_tool", "plan"})
"""Operations whose spans repeat what the spans of the model's calls below them say."""

_LONGEST: Final = 100
_MOST_PARTS: Final = 100_000
"""Spans, their attributes and what they stand in; exporters send 512 spans at once if not told otherwise."""


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """The tokens of one call of a model. `span` tells it from any other, in hex."""

    span: str
    model: str
    input_tokens: int
    output_tokens: int


def usage_in(body: bytes, media_type: str) -> list[ModelUsage]:
    """Return what the spans of an OTLP export request say of tokens; spans of anything else are passed over.

    `media_type` is one of `MEDIA_TYPES`. The parser is loaded by the first report: most gateways never get one.

    Raises:
        RequestFault: it is no such request, or has more parts than any exporter sends at once (`too_large`).
    """
    if media_type == _JSON and body.count(b"{") > _MOST_PARTS:
        raise _too_many()
    from google.protobuf.json_format import Parse, ParseError
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    try:
        if media_type == _JSON:  # ids are hex there and read as base64: other bytes, and as much their own
            Parse(body, request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
    except (DecodeError, ParseError, UnicodeDecodeError) as error:
        raise RequestFault(f"The body is no OTLP export request: {str(error)[:200]}") from None
    return list(_usages(request))


def _usages(request: Any) -> Iterator[ModelUsage]:
    for span in _spans(request):
        told = {each.key: _value(each.value) for each in span.attributes if each.key.startswith("gen_ai.")}
        tokens = _tokens(told, _INPUT), _tokens(told, _OUTPUT)
        if any(tokens) and told.get(_OPERATION) not in _SUMS:
            model = str(next((told[name] for name in _MODEL if name in told), ""))
            yield ModelUsage((span.trace_id + span.span_id).hex(), model[:_LONGEST], *tokens)


def _spans(request: Any) -> Iterator[Any]:
    """Yield every span. Raises `RequestFault`: of parts that take two bytes each there can be millions."""
    parts = len(request.resource_spans)
    for resource in request.resource_spans if parts <= _MOST_PARTS else ():
        parts += len(resource.scope_spans)
        for scope in resource.scope_spans if parts <= _MOST_PARTS else ():
            parts += len(scope.spans)
            for span in scope.spans if parts <= _MOST_PARTS else ():
                parts += len(span.attributes)
                if parts <= _MOST_PARTS:
                    yield span
    if parts > _MOST_PARTS:
        raise _too_many()


def _too_many() -> RequestFault:
    return RequestFault("There are too many parts in this request: export in smaller batches.", code="too_large")


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def _tokens(told: Mapping[str, Any], names: tuple[str, ...]) -> int:
    found = next((told[name] for name in names if name in told), 0)
    return found if type(found) is int and found > 0 else 0
