"""A URL read in the one way every part of a request reads it; what two readers could read differently is refused."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final
from urllib.parse import unquote, urlsplit

from gateway.connector.addresses import Address

__all__ = ["Target", "TargetRefused", "host_in"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTS: Final = frozenset({".", ".."})


class TargetRefused(ValueError):
    """The text is no URL a request is sent to; it says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes. `host` is lower-case, an address in its shortest form, an IPv6 one without brackets.

    `path` begins with a slash; `query` is without its question mark. Both are percent-encoded ASCII.
    """

    scheme: str
    host: str
    port: int
    path: str = "/"
    query: str = ""

    @classmethod
    def read(cls, url: str) -> "Target":
        """Read an absolute http(s) URL.

        Raises:
            TargetRefused: it is none, holds credentials or a fragment, or its host is spelled in an unusual way.
        """
        if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise TargetRefused(
                "a URL has no spaces, backslashes, control or non-ASCII characters: percent-encode them"
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise TargetRefused(f"not a URL: {error}") from None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise TargetRefused("an http:// or https:// URL is needed")
        if "@" in parts.netloc:
            raise TargetRefused("a URL holds no user name or password")
        if "#" in url:
            raise TargetRefused("a URL that is sent has no fragment")
        if port == 0 or parts.netloc.endswith(":"):
            raise TargetRefused("the port must be a number from 1 to 65535")
        host = host_in(f"[{parts.hostname}]" if "[" in parts.netloc else parts.hostname)
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], _path(parts.path or "/"), parts.query)

    @property
    def address(self) -> Address | None:
        """The host where it is an address."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return IPv4Address(self.host) if self.host.rpartition(".")[2].isdigit() else None

    @property
    def authority(self) -> str:
        """What goes into the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, for people and for comparing."""
        return f"{self.scheme}://{self.authority}"

    @property
    def sent(self) -> bytes:
        """The request target, as it is sent."""
        return (self.path + (f"?{self.query}" if self.query else "")).encode("ascii")


def host_in(text: str) -> str:
    """Return a host as `Target.host` holds it.

    Raises:
        TargetRefused: it is no DNS name and no address in its plain form. Resolvers read `0177.1` and `2130706433` as
            127.0.0.1; here nobody does.
    """
    host = text.lower()
    if host.startswith("["):
        return _ipv6(host.strip("[]"))
    if not host.isascii():
        raise TargetRefused("an international name is written in its xn-- form")
    labels = host.split(".")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise TargetRefused(f"{host!r} is an unusual spelling of an address") from None
    if host.endswith("."):
        raise TargetRefused("a host name has no dot at its end")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetRefused(f"{host[:80]!r} is not a host name")
    return host


def _ipv6(text: str) -> str:
    if "%" in text:
        raise TargetRefused("an address has no zone")
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise TargetRefused(f"{text[:80]!r} is not an IPv6 address") from None


def _path(path: str) -> str:
    """Return the path, which leads where it says: `..` is read by some servers and not by others, also encoded."""
    plain = unquote(unquote(path)).replace("\\", "/")
    if not _DOTS.isdisjoint(plain.split("/")):
        raise TargetRefused("a path has no '.' or '..' segments")
    if not plain.isprintable():
        raise TargetRefused("a path has no control characters")
    return path
