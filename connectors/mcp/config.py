"""What an `mcpServers` entry may say: the form every MCP client reads, and a few keys of our own."""

import ssl
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from connectors.mcp.era import Protocol
from connectors.mcp.sandbox import Sandbox
from gateway.connector import Auth, ConnectorConfig, MutualTls, ProxyUrl, Secret

__all__ = ["HttpServer", "StdioServer"]

_MIB = 1024 * 1024


class Stopping(ConnectorConfig):
    """When a child process ends besides with the gateway, and how."""

    after_idle_s: float | None = Field(
        None, gt=0, description="Stopped when it was not called for so long, until the next call; never if not given."
    )
    grace_s: float = Field(2.0, ge=0, le=60, description="How long each step of stopping it may take, in seconds.")


class StdioServer(ConnectorConfig):
    """A server that the gateway starts as its child."""

    type: Literal["stdio"] = Field("stdio", description="How the server is spoken to.")
    command: str = Field(min_length=1, description="The program to start; found on PATH.")
    args: tuple[str, ...] = Field((), description="Its arguments.", repr=False)
    env: Mapping[str, Secret] = Field(
        default_factory=dict,
        description="Variables it gets besides HOME, LOGNAME, PATH, SHELL, TERM, USER and LANG; it sees no others.",
    )
    cwd: str | None = Field(None, description="The directory it starts in; the gateway's own if not given.")
    sandbox: Sandbox | None = Field(None, description="What it may see of this machine; all, if not given.")
    protocol: Protocol = Field(Protocol.AUTO, description="Which MCP era it speaks; `auto` asks it.")
    start_timeout_s: float = Field(30.0, gt=0, le=600, description="How long it may take to start, in seconds.")
    stop: Stopping = Field(default=Stopping(), description="When and how it is stopped.")
    max_message_bytes: int = Field(8 * _MIB, ge=1024, description="The largest answer taken, in bytes.")

    @field_validator("command", "args", "cwd", "env")
    @classmethod
    def _can_be_handed_to_a_process(cls, value: object) -> object:
        texts = [value] if isinstance(value, str) else []
        if isinstance(value, tuple):
            texts = list(value)
        elif isinstance(value, Mapping):
            texts = [*value, *(secret.reveal() for secret in value.values())]
            if any(not name or "=" in name for name in value):
                raise ValueError("a variable's name is not empty and has no '='")
        if any("\0" in text for text in texts):
            raise ValueError("a process takes no NUL characters")
        return value


class Way(ConnectorConfig):
    """How a server on the network is reached."""

    connect_timeout_s: float = Field(10.0, gt=0, le=600, description="How long a connection may take, in seconds.")
    proxy: ProxyUrl | None = Field(
        None,
        description="A proxy on the way, as into a VPN: `socks5://HOST:PORT` or `http://HOST:PORT` (CONNECT), with "
        "`USER:PASSWORD@` before the host where it wants them. It looks names up.",
    )


class HttpServer(ConnectorConfig):
    """A server reached over Streamable HTTP, or over the SSE transport that came before it."""

    type: Literal["http", "streamable-http", "sse"] = Field(
        "http", description="How the server is spoken to; `sse` is the transport of 2024-11-05."
    )
    url: str = Field(
        description="Its MCP endpoint; no redirect is followed but to the same with, or without, a slash at its end.",
        repr=False,
    )
    headers: Mapping[str, Secret] = Field(default_factory=dict, description="Headers sent with every request.")
    auth: Auth | None = Field(None, description="A credential that the gateway gets and renews by itself.")
    ca_file: str | None = Field(None, description="A PEM file of the authorities to trust, instead of the system's.")
    egress: Way = Field(default=Way(), description="How it is reached.")
    protocol: Protocol = Field(Protocol.AUTO, description="Which MCP era it speaks; `auto` asks it.")
    start_timeout_s: float = Field(30.0, gt=0, le=600, description="How long the first contact may take, in seconds.")
    first_byte_timeout_s: float = Field(60.0, gt=0, description="How long an answer may take to begin, in seconds.")
    max_message_bytes: int = Field(8 * _MIB, ge=1024, description="The largest answer taken, in bytes.")

    @model_validator(mode="after")
    def _is_as_old_as_its_transport(self) -> "HttpServer":
        if self.type == "sse" and self.protocol is Protocol.MODERN:
            raise ValueError("protocol: over `type: sse` there is only the legacy one")
        return self

    @model_validator(mode="after")
    def _shows_nothing_in_the_clear(self) -> "HttpServer":
        if isinstance(self.auth, MutualTls) and not self.url.startswith("https:"):
            raise ValueError("auth: a certificate is only shown to an https:// URL")
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("headers: with `auth`, the gateway itself sets Authorization")
        return self

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, path: str | None) -> str | None:
        try:
            ssl.create_default_context(cafile=path)
        except OSError as error:
            raise ValueError(f"{path} cannot be read as certificates: {error.strerror}") from None
        return path

    @field_validator("url")
    @classmethod
    def _is_a_plain_http_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an http:// or https:// URL is needed")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("a URL has no spaces, control or non-ASCII characters: percent-encode them")
        if "@" in parts.netloc:
            raise ValueError("credentials go into headers, not into the URL")
        if parts.port == 0:
            raise ValueError("port 0 cannot be connected to")
        return url

    @field_validator("headers")
    @classmethod
    def _are_header_lines(cls, headers: Mapping[str, Secret]) -> Mapping[str, Secret]:
        for name, value in headers.items():
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{name!r} is not a header name")
            if name.lower() in _OWN_HEADERS or name.lower().startswith("mcp-"):
                raise ValueError(f"{name} is set by the gateway")
            if not _is_header_text(value.reveal()):
                raise ValueError(f"the value of {name} has characters that a header cannot carry")
        return headers


_OWN_HEADERS = frozenset(
    {"host", "accept", "accept-encoding", "content-type", "content-length", "transfer-encoding", "connection"}
)


def _is_header_text(text: str) -> bool:
    return all(char == "\t" or " " <= char <= "~" or "\xa0" <= char <= "\xff" for char in text)
