"""The catalog through the eyes of one agent: what it is listed, and what it finds when that is not all."""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.approval.own_tools import APPROVALS_SERVER
from gateway.catalog.cut import or_cut
from gateway.catalog.own_tools import OWN_PINS, READ_RESULT, TOOLS_SERVER
from gateway.catalog.search import Index, words_of
from gateway.catalog.uris import own_uri
from gateway.codec import dump, verbatim
from gateway.model.identity import Identity
from gateway.model.tool import Tool
from gateway.pipeline.rules import Rules
from gateway.policy import visible
from gateway.workflow.own_tools import OWN_SERVER

__all__ = ["View", "Views"]

_OWN: Final = frozenset({APPROVALS_SERVER, OWN_SERVER, *OWN_PINS})
_VIEWS: Final = 1024
_INDEXES: Final = 16
_TEXTS: Final = 64
_Key = tuple[Identity, str, frozenset[str]]
"""Who looks, at which endpoint, and what is open to them for a while."""

_Seen = tuple[list[Mapping[str, Any]], Sequence[Tool]]
"""What is listed, and the tools. No `View`: that holds its `Views`, and with these the rules, which have to go."""


@dataclass(frozen=True, slots=True)
class View:
    """What an agent may see at an endpoint.

    `listed` answers `tools/list`. `tools` are those of the servers, by name, whether or not they are listed one by one.
    """

    listed: list[Mapping[str, Any]]
    tools: Sequence[Tool]
    _views: "Views" = field(repr=False)
    _endpoint: str

    def definition(self, tool: Tool) -> Mapping[str, Any]:
        """Return a tool as `tools/list` shows it."""
        return self._views.definition(tool, self._endpoint)

    def find(self, query: str, limit: int) -> list[tuple[Tool, float]]:
        """Return the tools that fit a query best, and how well, best first."""
        return [(self.tools[number], score) for number, score in self._views.index(self.tools).find(query, limit)]


class Views:
    """Every agent's view under the same rules; made when first asked for, and so many kept that memory is bounded.

    An agent that may see more tools than the endpoint lists is listed those it finds them with instead, if it may use
    them: all of `tools_search`, `tools_describe` and `tools_call`.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._seen: dict[_Key, _Seen] = {}
        self._shown: dict[tuple[str, str, int], Mapping[str, Any]] = {}
        self._words: dict[str, Mapping[str, int]] = {}
        self._indexes: OrderedDict[tuple[str, ...], Index] = OrderedDict()
        self._pages: dict[str, defaultdict[str | None, set[str]]] = {}
        self._texts: OrderedDict[_Key, Any] = OrderedDict()

    def of(self, identity: Identity, endpoint: str, granted: frozenset[str] = frozenset()) -> View:
        """Return what this agent may see at an endpoint; some calls of the tools that are `granted` are open to it."""
        seen = self._seen.get((identity, endpoint, granted))
        if seen is None:
            if len(self._seen) > _VIEWS:
                self._seen.clear()
            seen = self._seen[identity, endpoint, granted] = self._made(identity, endpoint, granted)
        return View(*seen, self, endpoint)

    def text(self, identity: Identity, endpoint: str, granted: frozenset[str] = frozenset()) -> Any:
        """Return the list of what this agent may see as JSON that `dump` takes as it is: kept of who asked last."""
        key = identity, endpoint, granted
        text = self._texts.get(key)
        if text is None:
            if len(self._texts) >= _TEXTS:
                self._texts.popitem(last=False)
            text = self._texts[key] = verbatim(dump(self.of(identity, endpoint, granted).listed))
        else:
            self._texts.move_to_end(key)
        return text

    def definition(self, tool: Tool, endpoint: str) -> Mapping[str, Any]:
        """Return a tool as it is listed at an endpoint."""
        key = endpoint, tool.name, tool.version if tool.contract is None else tool.contract.version
        shown = self._shown.get(key)
        if shown is None:
            definition = or_cut(tool.listed) if tool.name in self.rules.limits.results else tool.listed
            definition = self._with_own_page(definition, tool.server, endpoint)
            shown = self._shown[key] = {**definition, "name": tool.wire_name}
        return shown

    def _with_own_page(self, definition: Mapping[str, Any], server: str, endpoint: str) -> Mapping[str, Any]:
        """Return a definition whose page is that of its server, where tools of others name one by the same URI."""
        page = _page_of(definition)
        if page is None:
            return definition
        servers = self._pages.get(endpoint)
        if servers is None:
            servers = self._pages[endpoint] = defaultdict(set)
            for tool in self.rules.catalog_at(endpoint).tools():
                servers[_page_of(tool.listed)].add(tool.server)
        if len(servers[page]) < 2:
            return definition
        meta = definition["_meta"]
        return {**definition, "_meta": {**meta, "ui": {**meta["ui"], "resourceUri": own_uri(server, page)}}}

    def index(self, tools: Sequence[Tool]) -> Index:
        """Return the index of these tools; agents that may see the same share one."""
        names = tuple(tool.name for tool in tools)
        index = self._indexes.pop(names, None)
        if index is None:
            index = Index([self._words_of(tool) for tool in tools])
            if len(self._indexes) >= _INDEXES:
                self._indexes.popitem(last=False)
        self._indexes[names] = index
        return index

    def _words_of(self, tool: Tool) -> Mapping[str, int]:
        words = self._words.get(tool.name)
        if words is None:
            words = self._words[tool.name] = words_of(tool)
        return words

    def _made(self, identity: Identity, endpoint: str, granted: frozenset[str]) -> _Seen:
        rules = self.rules
        seen = [
            tool
            for known in rules.catalog_at(endpoint).tools()
            if not known.quarantined and visible(rules.bundle, identity, known, granted=known.name in granted)
            if (tool := rules.spoken_with(identity.agent, known)).contract is None or not tool.contract.broken
        ]
        tools = tuple(tool for tool in seen if tool.server not in _OWN)
        own = {tool.name: tool for tool in seen if tool.server in _OWN}
        finders = [name for name, tool in own.items() if tool.server == TOOLS_SERVER]
        large = len(tools) > rules.list_limit_at(endpoint) and len(finders) == len(OWN_PINS[TOOLS_SERVER])
        if not large:
            own = {name: tool for name, tool in own.items() if name not in finders}
        if rules.limits.results.keys().isdisjoint(tool.name for tool in tools):
            own.pop(READ_RESULT, None)
        listed = sorted([*own.values(), *(() if large else tools)], key=lambda tool: tool.name)
        return [self.definition(tool, endpoint) for tool in listed], tools


def _page_of(definition: Mapping[str, Any]) -> str | None:
    """Return the page that a tool is shown with (MCP Apps), or None."""
    meta = definition.get("_meta")
    apps = meta.get("ui") if isinstance(meta, Mapping) else None
    page = apps.get("resourceUri") if isinstance(apps, Mapping) else None
    return page if isinstance(page, str) else None
