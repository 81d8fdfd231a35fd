"""One MCP server as the gateway sees it: opened, listed, called, healed."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.mcp.era import IDEMPOTENCY_META, Era, Protocol, negotiate
from connectors.mcp.listing import list_tools
from connectors.mcp.wire import RpcError, SessionLost, Wire
from gateway.connector import (
    ConnectorFault,
    Notice,
    Offer,
    Rejected,
    Surroundings,
    TimedOut,
    ToolCall,
    ToolTraits,
    Unavailable,
    plain,
)

__all__ = ["McpUpstream", "Pace"]

_HEADER_MISMATCH: Final = -32020
_TOOLS_CHANGED: Final = "notifications/tools/list_changed"
_Offer = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, in seconds; a server that keeps dying is restarted ever more slowly."""

    open_s: float = 30.0
    probe_s: float = 3.0
    list_s: float = 30.0
    restart_base_s: float = 0.5
    restart_cap_s: float = 30.0


class McpUpstream:
    """An `Upstream` over any wire. A dead server is started again by the next use, with backoff."""

    def __init__(self, wire: Wire, protocol: Protocol, surroundings: Surroundings, pace: Pace | None = None) -> None:
        self._wire = wire
        self._protocol = self._remembered = protocol
        self._pace = pace or Pace()
        self._clock = surroundings.clock
        self._redact = surroundings.redact
        self._server = surroundings.server
        self._client = {"name": "toolgate", "version": surroundings.version}
        self._era: Era | None = None
        self._opening = asyncio.Lock()
        self._closed = True
        self._starts = 0
        self._not_before = 0.0
        self._mirrored: dict[str, Mapping[tuple[str, ...], str]] = {}
        self._told: _Offer | None = None
        self._reconnected = False
        self._listeners: list[Notice] = []
        self._heads: dict[tuple[str, str], bytes] = {}
        wire.on_notification(self._notified)

    async def open(self) -> None:
        self._closed = False
        self._not_before = 0.0
        try:
            await self._ready(self._pace.open_s)
        except ConnectorFault as fault:
            raise self._named(fault) from fault

    async def close(self) -> None:
        self._closed = True
        self._era = None
        await self._wire.close()

    def traits(self, tool: str) -> ToolTraits | None:
        """A server's own hints are relayed in its definitions; the connector vouches for nothing."""
        return None

    def offer(self) -> Offer:
        return Offer()

    async def listed(self, method: str) -> Sequence[Mapping[str, Any]]:
        return ()

    async def watch(self, uris: frozenset[str]) -> None:
        """Nothing yet."""

    def on_notice(self, listener: Notice) -> None:
        self._listeners.append(listener)

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        ends = self._clock.monotonic() + self._pace.list_s

        async def once() -> Sequence[Mapping[str, Any]]:
            await self._ready(ends - self._clock.monotonic())
            return await self._list(ends)

        found: Sequence[Mapping[str, Any]] = await self._with_session(once)
        self._told = {tool["name"]: tool for tool in found}
        self._reconnected = False
        return found

    async def _list(self, ends: float) -> Sequence[Mapping[str, Any]]:
        left = ends - self._clock.monotonic()
        found = await list_tools(self._wire, await self._ready(left), self._clock, left)
        self._mirrored = _mirrored_parameters(found)
        return found

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        ends = self._clock.monotonic() + call.timeout_s
        told = self._told  # what the call was decided on

        async def once() -> Any:
            return await self._call_once(call, ends, told)

        result = await self._with_session(once)
        if not isinstance(result, dict):
            raise self._named(ConnectorFault("The server's result is not an object.", code="contract_broken"))
        if result.get("resultType", "complete") != "complete":
            kind = plain(result["resultType"], 50)
            raise self._named(Rejected(f"The tool answered {kind!r}, which this gateway does not relay yet."))
        return result

    async def _call_once(self, call: ToolCall, ends: float, told: _Offer | None) -> Any:
        try:
            return await self._send(call, ends, told)
        except RpcError as error:
            # Refused unread for headers that the tool's schema asks for: learn the schema, then ask again.
            if error.code != _HEADER_MISMATCH or call.tool in self._mirrored:
                raise
        await self._list(ends)
        return await self._send(call, ends, told)

    async def _offer(self, ends: float) -> _Offer:
        """Ask what the server offers over its new connection."""
        now = {each["name"]: each for each in await self._list(ends)}
        if now == self._told:
            self._reconnected = False
        else:
            self._notified(_TOOLS_CHANGED)
        return now

    async def _send(self, call: ToolCall, ends: float, told: _Offer | None) -> Any:
        era = await self._ready(ends - self._clock.monotonic())
        now = await self._offer(ends) if self._reconnected else self._told
        if now is not told and now is not None and told is not None and now.get(call.tool) != told.get(call.tool):
            raise ConnectorFault(
                "The server came back with another definition of this tool, so nothing was sent. List the tools again.",
                code="rejected",
                sent=False,
            )
        meta = call.meta
        if call.idempotency_key is not None:
            meta = {**meta, IDEMPOTENCY_META: call.idempotency_key}
        params = era.params({"name": call.tool, "arguments": call.arguments}, meta)
        headers = self._headers(era, call)
        return await self._wire.request("tools/call", params, headers, max(ends - self._clock.monotonic(), 0.0))

    def _headers(self, era: Era, call: ToolCall) -> bytes:
        parameters = self._parameter_headers(call)
        if parameters:
            return era.headers("tools/call", call.tool, parameters)
        known = self._heads.get((era.version, call.tool))
        if known is None:
            known = self._heads[era.version, call.tool] = era.headers("tools/call", call.tool)
        return known

    def _parameter_headers(self, call: ToolCall) -> Mapping[str, str] | None:
        mirrored = self._mirrored.get(call.tool)
        if not mirrored:
            return None
        from mcp.shared.inbound import mcp_param_headers

        return mcp_param_headers(mirrored, call.arguments)

    async def _with_session(self, once: Callable[[], Any]) -> Any:
        """Run `once`; where the server has dropped the session, which it says before it does anything, once more."""
        agreed = self._era
        try:
            try:
                result = await once()
            except SessionLost:
                if self._era is agreed:  # else another call has already agreed on a new one
                    self._era = None
                result = await once()
        except RpcError as error:
            raise self._named(self._refusal(error)) from error
        except ConnectorFault as fault:
            raise self._named(fault) from fault
        self._starts, self._not_before = 0, 0.0
        return result

    async def _ready(self, timeout_s: float) -> Era:
        """Return the era agreed with a live server, starting it if need be.

        Raises:
            ConnectorFault: it cannot be started; `sent` is False, for the caller's own request never left.
        """
        if self._era is not None and self._wire.alive:
            return self._era
        async with self._opening:
            if self._era is not None and self._wire.alive:
                return self._era
            if self._closed:
                raise Unavailable("The server is not open.", sent=False)
            if not self._wire.alive:
                self._pass_backoff()
            return await self._start(timeout_s)

    def _pass_backoff(self) -> None:
        now = self._clock.monotonic()
        if now < self._not_before:
            raise Unavailable("The server is being restarted.", retry_after_s=self._not_before - now, sent=False)
        self._starts += 1
        delay = self._pace.restart_base_s * 2.0 ** min(self._starts - 1, 16)
        self._not_before = now + min(delay, self._pace.restart_cap_s)

    async def _start(self, timeout_s: float) -> Era:
        era: Era | None = None
        begun = not self._wire.alive
        try:
            async with asyncio.timeout(min(self._pace.open_s, timeout_s)):
                if begun:
                    await self._wire.open()
                era = await negotiate(self._wire, self._remembered, self._client, self._pace.probe_s)
                self._remembered = Protocol.MODERN if era.modern else Protocol.LEGACY
        except TimeoutError:
            raise TimedOut("The server did not start in time.", sent=False) from None
        except RpcError as error:
            raise _unsent(self._refusal(error)) from error
        except ConnectorFault as fault:
            raise _unsent(fault) from fault
        finally:
            if self._closed:
                era = None
            self._era = era
            if era is None:
                self._remembered = self._protocol
                if begun or self._closed:  # else other calls are in flight on it
                    await self._wire.close()
        if era is None:
            raise Unavailable("The server was stopped.", sent=False)
        self._reconnected = self._told is not None
        return era

    def _refusal(self, error: RpcError) -> ConnectorFault:
        said = plain(self._redact(error.message)) or "no reason given"
        return Rejected(
            f"The server refused: {said} (code {error.code}).", detail=f"JSON-RPC error {error.code}: {said}"
        )

    def _named(self, fault: ConnectorFault) -> ConnectorFault:
        return ConnectorFault(
            f"{self._server}: {fault.message}" if self._server else fault.message,
            code=fault.code,
            detail=self._redact(fault.detail),
            retry_after_s=fault.retry_after_s,
            sent=fault.sent,
        )

    def _notified(self, method: str) -> None:
        if method == _TOOLS_CHANGED:
            for listener in self._listeners:
                listener(method, {})


def _unsent(fault: ConnectorFault) -> ConnectorFault:
    return ConnectorFault(
        fault.message, code=fault.code, detail=fault.detail, retry_after_s=fault.retry_after_s, sent=False
    )


def _mirrored_parameters(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[tuple[str, ...], str]]:
    """Return, per tool, which arguments its schema wants repeated in HTTP headers.

    The SDK's reading of the annotation is the reference; it is imported only when some tool has one (it takes seconds).
    """
    if not any("x-mcp-header" in repr(tool.get("inputSchema")) for tool in tools):
        return {tool["name"]: {} for tool in tools}
    from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map

    return {
        tool["name"]: {} if find_invalid_x_mcp_header(schema) else x_mcp_header_map(schema)
        for tool in tools
        for schema in [tool.get("inputSchema")]
    }
