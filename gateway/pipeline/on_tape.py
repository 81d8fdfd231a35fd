"""A server as a recorded run shows it: what was read, got and completed of it is what it has."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.connector.upstream import Definitions, Offer, ToolCall, ToolsOnly
from gateway.model.errors import ConnectorFault
from gateway.model.operation import COMPLETE, GET_PROMPT, READ_RESOURCE

__all__ = ["PLAYED", "OnTape"]

PLAYED: Final = frozenset({COMPLETE, GET_PROMPT, READ_RESOURCE})
"""The methods, besides tool calls, that can be played."""

_RESOURCES: Final = "resources/list"
_TEMPLATES: Final = "resources/templates/list"
_PROMPTS: Final = "prompts/list"
Json = Mapping[str, Any]


class OnTape(ToolsOnly):
    """Lists what `asked` names: methods and params on record. It is never called: the tape answers."""

    def __init__(self, asked: Iterable[tuple[str, Json]]) -> None:
        self._found: dict[str, dict[str, Json]] = {_RESOURCES: {}, _TEMPLATES: {}, _PROMPTS: {}}
        self._completes = False
        for method, params in asked:
            self._take(method, params)

    def _take(self, method: str, params: Json) -> None:
        uri, name = params.get("uri"), params.get("name")
        ref = params.get("ref", {}) if method == COMPLETE else {}
        self._completes = self._completes or method == COMPLETE
        if method == READ_RESOURCE and isinstance(uri, str):
            self._found[_RESOURCES].setdefault(uri, {"uri": uri, "name": uri})
        elif method == GET_PROMPT and isinstance(name, str):
            told = [{"name": each} for each in params.get("arguments") or {}]
            self._found[_PROMPTS][name] = {"name": name, "arguments": told}
        elif isinstance(of := ref.get("name"), str):
            self._found[_PROMPTS].setdefault(of, {"name": of})
        elif isinstance(of := ref.get("uri"), str):
            self._found[_TEMPLATES][of] = {"uriTemplate": of, "name": of}

    async def open(self) -> None:
        """Connect to nothing."""

    async def close(self) -> None:
        """There is nothing to leave."""

    def offer(self) -> Offer:
        resources = self._found[_RESOURCES] or self._found[_TEMPLATES]
        has = {"resources": resources, "prompts": self._found[_PROMPTS], "completions": self._completes}
        return Offer({"tools": {}, **{name: {} for name, found in has.items() if found}})

    async def tools(self) -> Definitions:
        return ()

    async def listed(self, method: str) -> Definitions:
        return [*self._found.get(method, {}).values()]

    def traits(self, tool: str) -> None:
        del tool

    async def call(self, call: ToolCall) -> Json:
        raise ConnectorFault(f"{call.tool} is only played back: nothing is called.", sent=False)
