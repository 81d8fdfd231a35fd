"""Stage 9: hold the answer against its contract."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.model.call import Call
from gateway.model.errors import ConnectorFault

__all__ = ["Check", "breach"]


class Check:
    """Sets `call.checked`: the raw result, known to be what its method answers with and to keep the pinned schema."""

    async def __call__(self, call: Call) -> None:
        broken = breach(call, call.raw)
        if broken:
            raise ConnectorFault(
                f"{call.tool.wire_name} answered with something that is not its contract; the answer is withheld: "
                f"{broken}.",
                code="contract_broken",
            )
        call.checked = call.raw


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
    if call.tool.output_schema is None or result.get("isError") is True:
        return ""
    if "structuredContent" not in result:
        return "structuredContent is missing"
    return call.tool.breaks_output(result["structuredContent"])


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
