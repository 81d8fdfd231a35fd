"""Stage 9: hold the answer against its contract."""

from collections.abc import Mapping
from typing import Any

from gateway.model.call import Call
from gateway.model.errors import ConnectorFault

__all__ = ["Check"]


class Check:
    """Sets `call.checked`: the raw result, known to be an MCP result that keeps the pinned output schema."""

    async def __call__(self, call: Call) -> None:
        broken = _broken(call, call.raw)
        if broken:
            raise ConnectorFault(
                f"{call.tool.wire_name} answered with something that is not its contract; the answer is withheld: "
                f"{broken}.",
                code="contract_broken",
            )
        call.checked = call.raw


def _broken(call: Call, result: Mapping[str, Any]) -> str:
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
