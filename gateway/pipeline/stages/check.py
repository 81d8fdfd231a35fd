"""Stage 9: hold the answer against its contract."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.model.answers import INCOMPLETE_META, PLAIN, Label, Watch
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault
from gateway.model.operation import TOOL_CALL
from gateway.model.task import TASK_METHODS
from gateway.model.tool import Tool
from gateway.pipeline.shaping import Shaping
from gateway.pipeline.stages import Step
from gateway.task.forms import broken, task_in

__all__ = ["Check", "breach", "is_incomplete", "labels_of", "tool_breach"]

_OFF: Final = Watch.OFF  # to look at a member of an enumeration takes eight times as long as at a global


class Check:
    """Sets `call.checked`: the raw result, known to be what its method answers with and to keep the pinned schema.

    And `call.labels`, where there are any. A tool's own error has none: it says itself that something is wrong.
    """

    def __init__(self, clock: Clock, shaping: Shaping, confirm: Callable[[Call], Awaitable[None]]) -> None:
        self._clock = clock
        self._shaping = shaping
        self._confirm = confirm

    def __call__(self, call: Call) -> Step:
        tool, raw = call.tool, call.raw
        if tool.answers is not PLAIN or tool.contract or tool.lookup or call.as_task or call.source:
            return self._judged(call)
        if not _is_plain(tool, raw):
            return self._judged(call)
        call.checked = raw
        return None

    def _judged(self, call: Call) -> Step:
        broken = breach(call, call.raw) or _breach_of_contract(call.tool, call.raw)
        if broken:
            raise ConnectorFault(
                f"{call.tool.wire_name} answered with something that is not its contract; the answer is withheld: "
                f"{broken}.",
                code="contract_broken",
            )
        begun = call.as_task and task_in(call.raw) is not None
        labels = () if begun else labels_of(call.tool, call.raw, self._clock)
        if call.source is not None and call.source.fallback:
            labels = (Label.FALLBACK, *dict.fromkeys((*call.source.labels, *labels)))
        lookup = call.tool.lookup
        confirms = lookup is not None and lookup.after_each and call.intent and call.raw.get("isError") is not True
        if (confirms or call.tool.answers.shape is not _OFF) and not begun:
            return self._compared(call, labels, confirms=confirms)
        if labels:
            call.labels = labels
        call.checked = call.raw
        return None

    async def _compared(self, call: Call, labels: tuple[Label, ...], *, confirms: bool) -> None:
        """Raises `OutcomeUnknown`: the answer says that it was done, and who is asked after each call does not."""
        if confirms:
            await self._confirm(call)
        if call.tool.answers.shape is not Watch.OFF:
            labels = (*labels, *await self._shaping.judge(call))
        if labels:
            call.labels = labels
        call.checked = call.raw


def _is_plain(tool: Tool, result: Mapping[str, Any]) -> bool:
    """Tell whether an answer surely is all that its tool promises, of which nothing is declared, and no more to say."""
    content, meta = result.get("content"), result.get("_meta")
    if tool.method != TOOL_CALL or type(content) is not list or result.get("isError", False) is not False:
        return False
    if result.get("resultType", "complete") != "complete":
        return False
    if meta is not None and (type(meta) is not dict or INCOMPLETE_META in meta):
        return False
    for item in content:
        if type(item) is not dict or type(item.get("type")) is not str:
            return False
    if tool.output_schema is None:
        return True
    return "structuredContent" in result and not tool.breaks_output(result["structuredContent"])


def _breach_of_contract(tool: Tool, result: Mapping[str, Any]) -> str:
    """Return why an answer cannot be given to an agent that is held at an older version, or nothing."""
    return "" if tool.contract is None else tool.contract.breach(result)


def labels_of(tool: Tool, result: Mapping[str, Any], clock: Clock) -> tuple[Label, ...]:
    """Return what the reader of an answer has to know."""
    if result.get("isError") is True or result.get("resultType", "complete") != "complete":
        return ()
    incomplete = (Label.INCOMPLETE,) if is_incomplete(tool, result) else ()
    stale = tool.answers.stale
    return (*incomplete, Label.STALE) if stale is not None and stale(result, clock.now_ms()) else incomplete


def is_incomplete(tool: Tool, result: Mapping[str, Any]) -> bool:
    """Tell whether an answer is not everything: its connector says so, or what is declared of the tool's answers."""
    meta = result.get("_meta")
    if meta is not None and isinstance(meta, Mapping) and INCOMPLETE_META in meta:
        return True
    incomplete = tool.answers.incomplete
    return incomplete is not None and incomplete(result)


def breach(call: Call, result: Mapping[str, Any]) -> str:
    """Return what in an answer breaks its contract, or nothing."""
    kind = result.get("resultType", "complete")
    if call.as_task and (task := task_in(result)) is not None:
        return broken(task)
    if kind == "input_required":
        if not call.request.back.takes_input_required:
            return "it asks for input, which cannot be given here"
        asked = result.get("inputRequests", {})
        return "" if isinstance(asked, dict) else "inputRequests is not an object"
    if kind != "complete":
        return f"results of the kind {ascii(kind)[:80]} are not relayed yet"
    return _OF_METHOD[call.tool.method](call.tool, result)


def tool_breach(tool: Tool, result: Mapping[str, Any]) -> str:
    """Return what in the result of a tool call breaks the contract of its tool, or nothing."""
    content = result.get("content")
    if content is not None and not isinstance(content, list):
        return "content is not a list"
    if content is None and "structuredContent" not in result:
        return "neither content nor structuredContent"
    if content and not all([type(item) is dict and type(item.get("type")) is str for item in content]):
        return "content is not a list of objects that have a type"
    failed = result.get("isError", False)
    if failed is True:
        return ""
    if failed is not False:
        return "isError is neither true nor false"
    if tool.output_schema is not None:
        if "structuredContent" not in result:
            return "structuredContent is missing"
        if broken := tool.breaks_output(result["structuredContent"]):
            return broken
    breach_of = tool.answers.breach
    return "" if breach_of is None else breach_of(result)


def _list_of(name: str) -> Callable[[Tool, Mapping[str, Any]], str]:
    def broken(tool: Tool, result: Mapping[str, Any]) -> str:
        del tool
        return "" if isinstance(result.get(name), list) else f"{name} is not a list"

    return broken


def _completion(tool: Tool, result: Mapping[str, Any]) -> str:
    del tool
    completion = result.get("completion")
    values = completion.get("values") if isinstance(completion, dict) else None
    return "" if isinstance(values, list) else "completion has no values"


_OF_METHOD: Final[Mapping[str, Callable[[Tool, Mapping[str, Any]], str]]] = {
    "tools/call": tool_breach,
    "resources/read": _list_of("contents"),
    "prompts/get": _list_of("messages"),
    "completion/complete": _completion,
    "resources/subscribe": lambda tool, result: "",
    **dict.fromkeys(TASK_METHODS, lambda tool, result: ""),  # checked when the task ended
}
