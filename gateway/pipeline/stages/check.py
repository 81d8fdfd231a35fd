"""Stage 9: hold the answer against its contract."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.model.answers import INCOMPLETE_META, Label
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault

__all__ = ["Check", "breach", "is_incomplete"]


class Check:
    """Sets `call.checked`: the raw result, known to be what its method answers with and to keep the pinned schema.

    And `call.labels`, where there are any. A tool's own error has none: it says itself that something is wrong.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, call: Call) -> None:
        broken = breach(call, call.raw)
        if broken:
            raise ConnectorFault(
                f"{call.tool.wire_name} answered with something that is not its contract; the answer is withheld: "
                f"{broken}.",
                code="contract_broken",
            )
        labels = tuple(self._labels(call, call.raw))
        if labels:
            call.labels = labels
        call.checked = call.raw

    def _labels(self, call: Call, result: Mapping[str, Any]) -> Iterator[Label]:
        if result.get("isError") is True or result.get("resultType", "complete") != "complete":
            return
        if is_incomplete(call, result):
            yield Label.INCOMPLETE
        stale = call.tool.answers.stale
        if stale is not None and stale(result, self._clock.now_ms()):
            yield Label.STALE


def is_incomplete(call: Call, result: Mapping[str, Any]) -> bool:
    """Tell whether an answer is not everything: its connector says so, or what is declared of the tool's answers."""
    meta = result.get("_meta")
    if meta is not None and isinstance(meta, Mapping) and INCOMPLETE_META in meta:
        return True
    incomplete = call.tool.answers.incomplete
    return incomplete is not None and incomplete(result)


def breach(call: Call, result: Mapping[str, Any]) -> str:
    """Return what in an answer breaks its contract, or nothing."""
    kind = result.get("resultType", "complete")
    if kind == "input_required":
        if not call.request.back.takes_input_required:
            return "it asks for input, which cannot be given here"
        asked = result.get("inputRequests", {})
        return "" if isinstance(asked, dict) else "inputRequests is not an object"
    if kind != "complete":
        return f"results of the kind {ascii(kind)[:80]} are not relayed yet"
    return _OF_METHOD[call.tool.method](call, result)


def _tool_result(call: Call, result: Mapping[str, Any]) -> str:
    content = result.get("content")
    if content is not None and not isinstance(content, list):
        return "content is not a list"
    if content is None and "structuredContent" not in result:
        return "neither content nor structuredContent"
    if result.get("isError") is True:
        return ""
    if call.tool.output_schema is not None:
        if "structuredContent" not in result:
            return "structuredContent is missing"
        if broken := call.tool.breaks_output(result["structuredContent"]):
            return broken
    breach_of = call.tool.answers.breach
    return "" if breach_of is None else breach_of(result)


def _list_of(name: str) -> Callable[[Call, Mapping[str, Any]], str]:
    def broken(call: Call, result: Mapping[str, Any]) -> str:
        del call
        return "" if isinstance(result.get(name), list) else f"{name} is not a list"

    return broken


def _completion(call: Call, result: Mapping[str, Any]) -> str:
    del call
    completion = result.get("completion")
    values = completion.get("values") if isinstance(completion, dict) else None
    return "" if isinstance(values, list) else "completion has no values"


_OF_METHOD: Final[Mapping[str, Callable[[Call, Mapping[str, Any]], str]]] = {
    "tools/call": _tool_result,
    "resources/read": _list_of("contents"),
    "prompts/get": _list_of("messages"),
    "completion/complete": _completion,
    "resources/subscribe": lambda call, result: "",
}
