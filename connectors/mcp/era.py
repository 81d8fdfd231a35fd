"""The two eras of MCP, and finding out which one a server speaks.

A modern server (2026-07-28) answers `server/discover` and wants an envelope in every request; a legacy one
(2025-11-25 and before) wants `initialize` first. Names and codes are those of the specifications.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from connectors.mcp.wire import RpcError, Wire
from gateway.connector import Back, ConnectorFault, Offer, TimedOut

__all__ = ["LEGACY", "MODERN", "Era", "Protocol", "header_value", "negotiate"]

MODERN: Final = "2026-07-28"
LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
_UNSUPPORTED_VERSION: Final = -32022
_ENVELOPE: Final = "io.modelcontextprotocol/"
_VERSION: Final = f"{_ENVELOPE}protocolVersion"
_CAPABILITIES: Final = f"{_ENVELOPE}clientCapabilities"
_CLIENT: Final = f"{_ENVELOPE}clientInfo"
_LOG_LEVEL: Final = f"{_ENVELOPE}logLevel"
_CHOSEN_LEVEL: Final = "info"
"""What a client that named no level hears: debugging is for whoever asks for it."""


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class Protocol(StrEnum):
    """Which era to speak; `auto` asks the server."""

    AUTO = "auto"
    MODERN = "modern"
    LEGACY = "legacy"


@dataclass(frozen=True, slots=True)
class Era:
    """What was agreed with one server, and what both sides said of themselves.

    `lends` are the client capabilities that requests behind which there is no single client go with. `bare` is the
    envelope of a request whose client can do nothing in particular, for the modern era, and `logged` of one whose
    client hears what the server chooses to log: nothing, unless `streams` says that each request has its own stream.
    """

    version: str
    client: Mapping[str, str]
    lends: Mapping[str, Any] = field(default_factory=dict)
    offer: Offer = field(default_factory=Offer)
    streams: bool = False
    modern: bool = field(init=False)
    bare: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    logged: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modern", self.version == MODERN)
        bare = {_VERSION: self.version, _CAPABILITIES: {}, _CLIENT: self.client}
        logs = self.streams and "logging" in self.offer.capabilities
        object.__setattr__(self, "bare", bare)
        object.__setattr__(self, "logged", {**bare, _LOG_LEVEL: _CHOSEN_LEVEL} if logs else bare)

    def params(self, params: Mapping[str, Any], meta: Mapping[str, Any], back: Back | None = None) -> Mapping[str, Any]:
        """Return `params` with the `_meta` of this era: what the caller gave, and the envelope where one is due.

        `back` leads to the client that the request is of, if it is of one. A progress token is left out: each
        connection has tokens of its own.
        """
        if not meta and back is not None and not (back.capabilities or back.declares or back.log_level):
            if not self.modern:
                return params  # nearly every request
            return {**params, "_meta": self.logged if back.logs_by_default else self.bare}
        kept = {key: value for key, value in meta.items() if key != "progressToken" and not key.startswith(_ENVELOPE)}
        if self.modern:
            kept |= self.logged if back is not None and back.logs_by_default else self.bare
            kept[_CAPABILITIES] = dict(self.lends) if back is None else _told(back)
            if back is not None and back.log_level:
                kept[_LOG_LEVEL] = back.log_level
        return {**params, "_meta": kept} if kept else params

    def headers(self, method: str, name: str = "", parameters: Mapping[str, str] | None = None) -> bytes:
        """Return the HTTP header lines of one request; `parameters` are `Mcp-Param-*` headers, already encoded."""
        lines = f"MCP-Protocol-Version: {self.version}\r\n"
        if self.modern:
            lines += f"Mcp-Method: {method}\r\n"
            if name:
                lines += f"Mcp-Name: {header_value(name)}\r\n"
            for header, value in (parameters or {}).items():
                lines += f"{header}: {value}\r\n"
        return lines.encode("latin-1")


def _told(back: Back) -> Mapping[str, Any]:
    """Return what a modern server is told that a client can do: nobody can tell it when its roots change."""
    told = {**back.capabilities, **back.declares}
    if "roots" in told:
        told["roots"] = {name: value for name, value in told["roots"].items() if name != "listChanged"}
    return told


def header_value(value: str) -> str:
    """Return `value` as an HTTP header can carry it: itself, or the specification's base64 form of it."""
    if value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


async def negotiate(
    wire: Wire, protocol: Protocol, client: Mapping[str, str], probe_s: float, lends: Mapping[str, Any] = _NONE
) -> Era:
    """Return the era that the server at the other end of `wire` speaks, ready for requests.

    `client` and `lends` are what it is told of the gateway: its name and version, and its client capabilities.

    A server that leaves `server/discover` unanswered for `probe_s` is asked to `initialize` too, and whichever it
    answers counts: one that was merely slow to start may be of either era. The caller bounds the whole. One that ends
    at the question is asked nothing more.

    Raises:
        ConnectorFault: it answers neither, or speaks no version known here.
        RpcError: it refuses.
    """
    if protocol is Protocol.MODERN:
        return await _discover(wire, client, lends)
    if protocol is Protocol.LEGACY:
        return await _initialize(wire, client, lends)
    probe = asyncio.ensure_future(_discover(wire, client, lends))
    handshake: asyncio.Task[Era] | None = None
    try:
        done, _ = await asyncio.wait({probe}, timeout=probe_s)
        if done:
            failure = probe.exception()
            if failure is None:
                return probe.result()
            if not _speaks_of_legacy(failure) or not wire.alive:
                raise failure
        handshake = asyncio.ensure_future(_initialize(wire, client, lends))
        return await _first_answer(probe, handshake)
    finally:
        await _abandon(probe, handshake)


async def _first_answer(probe: asyncio.Future[Era], handshake: asyncio.Future[Era]) -> Era:
    pending: set[asyncio.Future[Era]] = {handshake} if probe.done() else {probe, handshake}
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None:
                return task.result()
    return handshake.result()


async def _abandon(*tasks: asyncio.Future[Era] | None) -> None:
    started = [task for task in tasks if task is not None]
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)


def _speaks_of_legacy(failure: BaseException) -> bool:
    """Tell whether a failed probe may come from a legacy server. An outage or a bad credential is no verdict."""
    if isinstance(failure, RpcError):
        supported = failure.data.get("supported") if isinstance(failure.data, dict) else None
        if failure.code != _UNSUPPORTED_VERSION or not isinstance(supported, list):
            return True
        return any(version in LEGACY for version in supported)
    if isinstance(failure, TimedOut):
        return False
    return isinstance(failure, ConnectorFault) and failure.sent and failure.code in {"unavailable", "contract_broken"}


def _names_modern(error: RpcError) -> bool:
    supported = error.data.get("supported") if isinstance(error.data, dict) else None
    return error.code == _UNSUPPORTED_VERSION and isinstance(supported, list) and MODERN in supported


_FOREVER: Final = 86_400.0


async def _discover(wire: Wire, client: Mapping[str, str], lends: Mapping[str, Any]) -> Era:
    era = Era(MODERN, client, lends)
    asked = "server/discover", era.params({}, {}), era.headers("server/discover"), _FOREVER
    try:
        result = await wire.request(*asked)
    except RpcError as error:
        if not _names_modern(error):
            raise
        result = await wire.request(*asked)  # it says that it speaks the very version it refused: once more
    supported = result.get("supportedVersions") if isinstance(result, dict) else None
    if not isinstance(supported, list) or MODERN not in supported:
        raise RpcError(_UNSUPPORTED_VERSION, "the server speaks no modern version", {"supported": list(LEGACY)})
    wire.settle(b"", legacy=False)
    return Era(MODERN, client, lends, _offer(result, MODERN), wire.own_streams)


async def _initialize(wire: Wire, client: Mapping[str, str], lends: Mapping[str, Any]) -> Era:
    offer = {"protocolVersion": LEGACY[0], "capabilities": dict(lends), "clientInfo": client}
    result = await wire.request("initialize", offer, b"", _FOREVER)
    version = result.get("protocolVersion") if isinstance(result, dict) else None
    if version not in LEGACY:
        raise ConnectorFault("The server speaks no protocol version known here.", code="contract_broken")
    era = Era(version, client, lends, _offer(result, version))
    headers = era.headers("notifications/initialized")
    await wire.notify("notifications/initialized", {}, headers)
    wire.settle(headers, legacy=True)
    return era


def _offer(result: Mapping[str, Any], version: str) -> Offer:
    capabilities, instructions = result.get("capabilities"), result.get("instructions")
    return Offer(
        capabilities if isinstance(capabilities, dict) else {},
        instructions if isinstance(instructions, str) else "",
        version,
    )
