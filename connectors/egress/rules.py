"""Which requests a connector may send at all."""

import ssl
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import AfterValidator, Field, field_validator

from gateway.connector import ConnectorConfig, ProxyUrl, Rejected, Tunnel
from gateway.connector.addresses import Address, Reach, judged
from gateway.connector.target import Target, host_in

__all__ = ["Egress", "EgressConfig", "EgressRefused", "EgressRule"]

_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class EgressRefused(Rejected):
    """The request would go where this connector may not; nothing was sent."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"This connector may not reach {what}: {why}.")
        self.sent = False


def _host(text: str) -> str:
    return host_in(f"[{text}]" if ":" in text and not text.startswith("[") else text)


def _prefix(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("a path prefix begins with a slash")
    return path


Host = Annotated[str, AfterValidator(_host)]


class EgressRule(ConnectorConfig):
    """One thing that is allowed: requests to a host, by method and path."""

    host: Host = Field(description="The host, as a name or an address; no patterns.")
    methods: tuple[str, ...] = Field((), description="Its HTTP methods; none named means every one.")
    path: Annotated[str, AfterValidator(_prefix)] = Field(
        "/", description="What paths begin with: whole segments, `/v1` allows `/v1` and `/v1/x`, not `/v10`."
    )

    @field_validator("methods")
    @classmethod
    def _are_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(methods) - _METHODS)
        if unknown:
            raise ValueError(f"not an HTTP method: {', '.join(unknown)}")
        return methods

    def covers(self, method: str, target: Target) -> bool:
        """Tell whether the rule allows `method` on `target`."""
        within = self.path.rstrip("/")
        inside = target.path == within or target.path.startswith(f"{within}/")
        return target.host == self.host and inside and (not self.methods or method in self.methods)


class EgressConfig(ConnectorConfig):
    """Where requests may go."""

    allow: tuple[EgressRule, ...] = Field(
        (), description="What may be reached; without it, everything below `base_url` and nothing else."
    )
    allow_private: tuple[Host, ...] = Field(
        (),
        description="Hosts that may be at loopback and private addresses. A link-local, metadata or other special "
        "address must itself be named here.",
    )
    ca_file: str | None = Field(None, description="A PEM file of the authorities to trust, instead of the system's.")
    connect_timeout_s: float = Field(10.0, gt=0, le=600, description="How long a connection may take, in seconds.")
    proxy: ProxyUrl | None = Field(
        None,
        description="A proxy on the way, as into a VPN: `socks5://HOST:PORT` or `http://HOST:PORT` (CONNECT), with "
        "`USER:PASSWORD@` before the host where it wants them. It looks names up.",
    )

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, path: str | None) -> str | None:
        try:
            ssl.create_default_context(cafile=path)
        except OSError as error:
            raise ValueError(f"{path} cannot be read as certificates: {error.strerror}") from None
        return path

    def tunnel(self) -> Tunnel | None:
        """Return the way through the proxy."""
        return Tunnel.through(self.proxy)

    def tls(self) -> ssl.SSLContext:
        """Return how servers are verified."""
        return ssl.create_default_context(cafile=self.ca_file)


class Egress:
    """The rules of one connector, asked before a request and again before a connection."""

    def __init__(self, allow: Iterable[EgressRule], allow_private: Iterable[str] = ()) -> None:
        self._allow = tuple(allow)
        self._private = frozenset(allow_private)

    @classmethod
    def of(cls, config: EgressConfig, usual: Target) -> "Egress":
        """Return the configured rules; without any, everything at and below `usual`."""
        rules = config.allow or (EgressRule(host=usual.host, path=usual.path),)
        return cls(rules, config.allow_private)

    def only(self, method: str, target: Target) -> "Egress":
        """Return rules for exactly one request, with the same private hosts."""
        return Egress((EgressRule(host=target.host, methods=(method,), path=target.path),), self._private)

    def is_private(self, host: str) -> bool:
        """Tell whether the operator named `host` as one of their own network."""
        return host in self._private

    def check(self, method: str, target: Target) -> None:
        """Let a request pass. Raises `EgressRefused`, before anything is resolved or sent."""
        if not any(rule.covers(method, target) for rule in self._allow):
            raise EgressRefused(f"{method} {target.origin}{target.path}", "egress.allow does not name it")
        if target.address is not None:
            self.check_address(target.host, target.address)
        elif target.host.rpartition(".")[2] == "localhost" and target.host not in self._private:
            raise EgressRefused(target.host, "it is this machine, and egress.allow_private does not name it")

    def check_address(self, host: str, address: Address) -> None:
        """Let a connection for `host` be made to `address`. Raises `EgressRefused`."""
        reach, kind = judged(address)
        named = str(address) in self._private
        if reach is Reach.PUBLIC or named or (reach is Reach.PRIVATE and host in self._private):
            return
        where = host if host == str(address) else f"{host} ({address})"
        raise EgressRefused(where, f"it is {kind}, and egress.allow_private does not name it")
