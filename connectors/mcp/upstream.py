"""One MCP server as the gateway sees it: opened, listed, called, healed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.mcp.connection import Connection, Pace, Terms
from connectors.mcp.era import Era, Protocol
from connectors.mcp.listing import LISTS, TOOLS_LIST, list_all
from connectors.mcp.mirrored import mirrored_parameters, parameter_headers
from connectors.mcp.request import TOOL_CALL, meta_of, name_of, params_of
from connectors.mcp.wire import METHOD_NOT_FOUND, RpcError, Wire
from gateway.connector import ConnectorFault, Notice, Offer, Rejected, Surroundings, ToolCall, ToolTraits, plain

__all__ = ["McpUpstream"]

_HEADER_MISMATCH: Final = -32020
_TOOLS_CHANGED: Final = "notifications/tools/list_changed"
_COMPLETE: Final = frozenset({"complete", "task"})
_Told = Mapping[str, Mapping[str, Any]]


@dataclass(slots=True)
class _Errand:
    """One call on its way: until when, and which definitions it was decided on."""

    call: ToolCall
    ends: float
    told: _Told | None


class McpUpstream:
    """An `Upstream` over any wire."""

    def __init__(self, wire: Wire, protocol: Protocol, surroundings: Surroundings, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self._clock = surroundings.clock
        self._terms = Terms(surroundings, self._pace)
        self._shared = Connection(wire, protocol, self._terms)
        self._mirrored: dict[str, Mapping[tuple[str, ...], str]] = {}
        self._told: _Told | None = None
        self._told_over: Era | None = None
        self._offer = Offer()
        self._listeners: list[Notice] = []
        self._heads: dict[tuple[str, str], bytes] = {}
        wire.on_notification(self._notified)

    async def open(self) -> None:
        try:
            await self._shared.open()
        except ConnectorFault as fault:
            raise self._terms.faults.named(fault) from fault

    async def close(self) -> None:
        await self._shared.close()

    def traits(self, tool: str) -> ToolTraits | None:
        """A server's own hints are relayed in its definitions; the connector vouches for nothing."""
        return None

    def offer(self) -> Offer:
        era = self._shared.era
        if era is not None:
            self._offer = era.offer
        return self._offer

    def on_notice(self, listener: Notice) -> None:
        self._listeners.append(listener)

    async def watch(self, uris: frozenset[str]) -> None:
        """Nothing yet."""

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        found = await self._listed(TOOLS_LIST)
        self._told = {tool["name"]: tool for tool in found}
        self._told_over = self._shared.era
        return found

    async def listed(self, method: str) -> Sequence[Mapping[str, Any]]:
        return await self._listed(method)

    async def _listed(self, method: str) -> Sequence[Mapping[str, Any]]:
        ends = self._clock.monotonic() + self._pace.list_s
        return await self._shared.hold_session(lambda: self._list(method, ends))

    async def _list(self, method: str, ends: float) -> Sequence[Mapping[str, Any]]:
        """Return a whole list; an empty one where the server says that it has none of it."""
        era = await self._shared.ready(ends - self._clock.monotonic())
        has = LISTS[method].capability in era.offer.capabilities
        if not has and method != TOOLS_LIST:  # tools are asked for all the same: many forget to say that they have any
            return ()
        try:
            found = await list_all(method, self._shared.wire, era, self._clock, ends - self._clock.monotonic())
        except RpcError as error:
            if error.code != METHOD_NOT_FOUND or (has and method == TOOLS_LIST):
                raise
            found = ()
        if method == TOOLS_LIST:
            self._mirrored = mirrored_parameters(found)
        return found

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        errand = _Errand(call, self._clock.monotonic() + call.timeout_s, self._told)
        result = await self._shared.hold_session(lambda: self._perform(errand))
        if not isinstance(result, dict):
            raise self._terms.faults.named(
                ConnectorFault("The server's result is not an object.", code="contract_broken")
            )
        if result.get("resultType", "complete") not in _COMPLETE:
            kind = plain(result["resultType"], 50)
            raise self._terms.faults.named(Rejected(f"The tool answered {kind!r}, which this gateway does not relay."))
        return result

    async def _perform(self, errand: _Errand) -> Any:
        call = errand.call
        try:
            return await self._send(errand)
        except RpcError as error:
            # Refused unread for headers that the tool's schema asks for: learn the schema, then ask again.
            if error.code != _HEADER_MISMATCH or call.method != TOOL_CALL or call.tool in self._mirrored:
                raise
        await self._list(TOOLS_LIST, errand.ends)
        return await self._send(errand)

    async def _send(self, errand: _Errand) -> Any:
        call = errand.call
        era = await self._shared.ready(errand.ends - self._clock.monotonic())
        if call.method == TOOL_CALL:
            await self._refuse_drift(errand)
        params = era.params(params_of(call), meta_of(call))
        left = max(errand.ends - self._clock.monotonic(), 0.0)
        return await self._shared.wire.request(call.method, params, self._headers(era, call), left)

    async def _refuse_drift(self, errand: _Errand) -> None:
        """Send no call to a server that, connected to anew, defines the tool in another way than was decided on."""
        now = await self._offered(errand.ends) if self._told_over is not self._shared.era else self._told
        told, tool = errand.told, errand.call.tool
        if now is not told and now is not None and told is not None and now.get(tool) != told.get(tool):
            raise ConnectorFault(
                "The server came back with another definition of this tool, so nothing was sent. List the tools again.",
                code="rejected",
                sent=False,
            )

    async def _offered(self, ends: float) -> _Told | None:
        """Ask what the server offers over its new connection."""
        if self._told is None:
            return None
        now = {each["name"]: each for each in await self._list(TOOLS_LIST, ends)}
        if now == self._told:
            self._told_over = self._shared.era
        else:
            self._notified(_TOOLS_CHANGED)
        return now

    def _headers(self, era: Era, call: ToolCall) -> bytes:
        if call.method != TOOL_CALL:
            return era.headers(call.method, name_of(call))
        parameters = parameter_headers(self._mirrored.get(call.tool), call.arguments)
        if parameters:
            return era.headers(TOOL_CALL, call.tool, parameters)
        known = self._heads.get((era.version, call.tool))
        if known is None:
            known = self._heads[era.version, call.tool] = era.headers(TOOL_CALL, call.tool)
        return known

    def _notified(self, method: str) -> None:
        if method == _TOOLS_CHANGED:
            for listener in self._listeners:
                listener(method, {})
