"""What an HTTP request must look like before anybody reads its body (DNS rebinding, CSRF, header tricks)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.transport.head import Head
from gateway.transport.wire import HttpRefusal

__all__ = ["Guard"]

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"mcp-method",
        b"mcp-name",
        b"mcp-protocol-version",
        b"mcp-session-id",
        b"origin",
        b"toolgate-attempt",
        b"toolgate-run",
    }
)
"""Headers that must not come twice: first-copy and last-copy readers would disagree."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Which Host and Origin values the gateway answers to; compared whole, never by prefix."""

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def build(cls, host: str, port: int, public_url: str = "") -> "Guard":
        """Allow the address listened on (all loopback spellings if it is one) and the public URL."""
        names = _LOOPBACK if host in {*_LOOPBACK, "::1"} else (host, *_LOOPBACK)
        hosts = {f"{name}:{port}" for name in names}
        origins = {f"http://{host}" for host in hosts}
        if public_url:
            scheme, _, rest = public_url.partition("://")
            authority = rest.split("/", 1)[0].lower()
            hosts |= {authority, authority.removesuffix(":443" if scheme == "https" else ":80")}
            origins |= {f"{scheme}://{authority}"}
        return cls(frozenset(hosts), frozenset(origins))

    def check(self, head: Head) -> None:
        """Refuse what does not come from where it should.

        Raises:
            HttpRefusal: 400 repeated header, 403 foreign Origin, 421 foreign Host.
        """
        headers = head.headers
        names = [name for name, _ in head.lines if name in _SINGLE]
        if len(names) != len(set(names)):
            raise HttpRefusal(400, "A header that must be single is repeated.")
        if headers.get("host", "").lower() not in self.hosts:
            raise HttpRefusal(421, "This Host is not served here. Set server.public_url if it should be.")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self.origins:
            raise HttpRefusal(403, "Pages of this Origin may not call the gateway: name it in server.origins.")

    @staticmethod
    def check_post(headers: Mapping[str, str]) -> None:
        """Refuse a POST that a browser form could send, or whose answer the client could not read.

        Raises:
            HttpRefusal: 415 content type or encoding, 406 Accept.
        """
        kind = headers.get("content-type", "").split(";", 1)[0].strip().lower()
        if kind != "application/json":
            raise HttpRefusal(415, "Content-Type must be application/json.")
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise HttpRefusal(415, "Compressed request bodies are not accepted.")
        accept = headers.get("accept", "*/*").lower()
        if "application/json" not in accept and "*/*" not in accept and "application/*" not in accept:
            raise HttpRefusal(406, "Accept must include application/json.")
