"""`tools.search`, `tools.describe`, `tools.call`: how agents use a catalog that is too large to be listed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.catalog.own_tools import CALL_TOOL, CALL_WIRE_NAME, TOOLS_SERVER
from gateway.codec import dump
from gateway.model.call import Call
from gateway.model.errors import RequestFault
from gateway.model.request import CallRequest
from gateway.pipeline.listing import Listing
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.stages.execute import OwnTool

__all__ = ["finding_tools", "meant"]

_FOUND: Final = 10
_LINE: Final = 160
_NAMES: Final = frozenset({CALL_TOOL, CALL_WIRE_NAME})


def meant(request: CallRequest, rules: RulesInForce) -> CallRequest:
    """Return the call that a `tools.call` stands for, and any other request as it is.

    So is one that stands for nothing: it then goes through the pipeline as what it is, and is refused there.
    """
    if request.name not in _NAMES or request.operation is not None:
        return request
    catalog = rules.current.catalog_at(request.endpoint)
    via, asked = catalog.find(CALL_TOOL), request.arguments
    if via is None or via.breaks_input(asked):
        return request
    tool = catalog.find(asked["name"])
    if tool is not None and tool.server == TOOLS_SERVER:
        return request
    return replace(request, name=asked["name"], arguments=asked.get("arguments", {}), via=via)


def finding_tools(listing: Listing) -> Mapping[str, OwnTool]:
    """Return what carries the tools out, by their names."""
    finding = _Finding(listing)
    return {"tools.search": finding.search, "tools.describe": finding.describe, CALL_TOOL: _cannot_stand_for}


async def _cannot_stand_for(call: Call) -> Mapping[str, Any]:
    raise RequestFault(f"{CALL_WIRE_NAME} cannot call {call.arguments['name']}: call it by its own name.")


class _Finding:
    """Only what the agent may see at the endpoint it asks at is found or described."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    async def search(self, call: Call) -> Mapping[str, Any]:
        asked = call.arguments
        view = self._listing.view(call.identity, call.request.endpoint)
        hits = view.find(asked["query"], asked.get("limit", _FOUND))
        found = [
            {"name": tool.wire_name, "description": _line(tool.definition.get("description")), "score": round(score, 3)}
            for tool, score in hits
        ]
        lines = [f"{each['name']}: {each['description']}" for each in found]
        if not found:
            lines = [f"None of the {len(view.tools)} tools fits. Search for other words: a verb and a thing are best."]
        text = "\n".join(lines)
        return {
            "content": [{"type": "text", "text": text}],
            "structuredContent": {"tools": found, "of": len(view.tools)},
        }

    async def describe(self, call: Call) -> Mapping[str, Any]:
        view = self._listing.view(call.identity, call.request.endpoint)
        names = dict.fromkeys(call.arguments["names"])
        seen = {name: tool for tool in view.tools for name in (tool.wire_name, tool.name) if name in names}
        answer = {
            "tools": [view.definition(seen[name]) for name in names if name in seen],
            "missing": [name for name in names if name not in seen],
        }
        return {"content": [{"type": "text", "text": dump(answer).decode()}], "structuredContent": answer}


def _line(description: Any) -> str:
    """Return a description as one line."""
    line = " ".join(description.split()) if isinstance(description, str) else ""
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"
