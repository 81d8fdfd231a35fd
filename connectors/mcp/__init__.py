"""The `mcp` connector: any MCP server, over stdio, Streamable HTTP or the older SSE transport, of either era."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from connectors.mcp.config import HttpServer, StdioServer
from connectors.mcp.connection import Pace
from connectors.mcp.era import Protocol
from connectors.mcp.error_log import ErrorLog
from connectors.mcp.http_client import HttpClient, HttpLimits
from connectors.mcp.http_wire import HttpWire
from connectors.mcp.process import Command, inherited_environment
from connectors.mcp.resting import RestingUpstream
from connectors.mcp.sandbox import sandboxed
from connectors.mcp.showing import Showing
from connectors.mcp.upstream import McpUpstream
from connectors.mcp.wire import Wire
from gateway.connector import (
    Behalf,
    Certificates,
    Connector,
    Credential,
    Secret,
    Sought,
    Surroundings,
    Tunnel,
    Upstream,
)

__all__ = ["HttpServer", "McpConnector", "StdioServer"]

_SHORTEST_SECRET = 6


class McpConnector(Connector[StdioServer | HttpServer]):
    """An MCP server: its tools are whatever it lists."""

    name = "mcp"

    @classmethod
    def configure(cls, settings: Mapping[str, Any], environ: Mapping[str, str] | None) -> StdioServer | HttpServer:
        """Return the validated entry; one with a `url` is a server on the network, any other a child process."""
        model = HttpServer if "url" in settings else StdioServer
        return model.model_validate(dict(settings), context={"environ": environ})

    @classmethod
    def sought(cls, config: StdioServer | HttpServer, server: str) -> Sought | None:
        """Return what is shown to a server on the network."""
        if not isinstance(config, HttpServer) or not (config.headers or config.auth):
            return None
        return Sought(server, config.url, config.headers, config.auth, config.ca_file, config.egress.proxy)

    @classmethod
    def upstream(cls, config: StdioServer | HttpServer, surroundings: Surroundings) -> Upstream:
        """Return the server's live form, not yet open."""
        secrets = config.headers if isinstance(config, HttpServer) else config.env
        lent = replace(surroundings, redact=_without(secrets.values(), surroundings.redact))
        pace = Pace(open_s=config.start_timeout_s)
        if not isinstance(config, HttpServer):
            if config.stop.after_idle_s is None:
                return McpUpstream(_over_pipes(config, lent), config.protocol, lent, pace)
            idle_s = config.stop.after_idle_s
            pace = replace(pace, rest_after_s=idle_s, lane_idle_s=min(idle_s, pace.lane_idle_s))
            return RestingUpstream(_over_pipes(config, lent), config.protocol, lent, pace)
        sought = cls.sought(config, lent.server)
        credential = lent.credential(sought) if sought else None
        concerning = credential.concerning if credential else None
        protocol = Protocol.LEGACY if config.type == "sse" else config.protocol
        return McpUpstream(_over_http(config, lent, credential), protocol, lent, pace, concerning)


def _over_http(config: HttpServer, lent: Surroundings, credential: Credential | None) -> Callable[[bool, Behalf], Wire]:
    limits = HttpLimits(
        connect_s=config.egress.connect_timeout_s,
        first_byte_s=config.first_byte_timeout_s,
        body_bytes=config.max_message_bytes,
    )
    tls = Certificates(config.auth, lent.folder, config.ca_file).tls if config.url.startswith("https:") else None

    tunnel = Tunnel.through(config.egress.proxy)
    if config.type == "sse":
        from connectors.mcp.sse_wire import SseWire  # each wire is loaded where a server is reached over it

    def make(alone: bool, behalf: Behalf) -> Wire:
        showing = Showing(credential, behalf) if credential else None
        client = HttpClient(config.url, limits, tls, tunnel)
        if config.type == "sse":
            return SseWire(config.url, client, showing, lent.clock, alone=alone)
        return HttpWire(client, showing, lent.clock, alone=alone)

    return make


def _over_pipes(config: StdioServer, lent: Surroundings) -> Callable[[bool, Behalf], Wire]:
    from connectors.mcp.stdio_wire import StdioWire

    own = {name: value.reveal() for name, value in config.env.items()}
    command = Command(
        program=config.command,
        arguments=config.args,
        environment={**inherited_environment(os.environ), **own},
        directory=config.cwd,
        stop_grace_s=config.stop.grace_s,
    )
    if config.sandbox is not None:
        command = sandboxed(command, config.sandbox)

    def make(alone: bool, behalf: Behalf) -> Wire:
        del behalf
        log = ErrorLog(lent.server, lent.redact, lent.clock)
        return StdioWire(command, config.max_message_bytes, log, alone=alone)

    return make


def _without(secrets: Iterable[Secret], redact: Callable[[str], str]) -> Callable[[str], str]:
    """Return `redact`, which also knows the server's own credentials: a server may echo them in an error."""
    texts = [secret.reveal() for secret in secrets]
    parts = {part for text in texts for part in (text, text.rpartition(" ")[2]) if len(part) >= _SHORTEST_SECRET}
    ordered = sorted(parts, key=len, reverse=True)

    def clean(text: str) -> str:
        for part in ordered:
            text = text.replace(part, "***")
        return redact(text)

    return clean
