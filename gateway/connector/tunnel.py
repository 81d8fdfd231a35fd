"""A way out through a proxy, as to a network behind a VPN: one tunnel per connection, by SOCKS5 or HTTP CONNECT."""

import asyncio
import re
import socket
from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator

from gateway.connector.dialing import dialled
from gateway.connector.faults import plain
from gateway.connector.secret import Secret

if TYPE_CHECKING:
    import httpcore2

__all__ = ["ProxyUrl", "Tunnel"]

_SCHEMES: Final = frozenset({"http", "socks5"})
_LONGEST_S: Final = 600.0
_END: Final = b"\r\n\r\n"
_MOST_SAID: Final = 16 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


def _is_a_proxy(secret: Secret) -> Secret:
    url = secret.reveal()
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or parts.scheme not in _SCHEMES or not parts.hostname or not port:
        raise ValueError("a proxy is written socks5://HOST:PORT or http://HOST:PORT")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("a proxy's URL ends with its port")
    if (parts.username is None) != (parts.password is None):
        raise ValueError("a proxy is shown a user and a password, socks5://USER:PASSWORD@HOST:PORT, or neither")
    return secret


ProxyUrl = Annotated[Secret, AfterValidator(_is_a_proxy)]
"""`socks5://` or `http://`, host and port; user and password, percent-encoded, where the proxy wants them."""


class Tunnel:
    """Reaches hosts through one proxy, which also looks their names up."""

    @classmethod
    def through(cls, proxy: Secret | None) -> "Tunnel | None":
        """Return the way through `proxy`, a `ProxyUrl`; None where there is none."""
        return cls(proxy) if proxy is not None else None

    def __init__(self, proxy: Secret) -> None:
        self._proxy = proxy
        parts = urlsplit(proxy.reveal())
        self._shown = f"{parts.scheme}://{parts.hostname}:{parts.port}"

    async def reach(self, host: str, port: int) -> socket.socket:
        """Return a connected socket; whoever calls bounds the time. Raises `OSError` where there is no way."""
        from python_socks import ProxyConnectionError, ProxyError
        from python_socks.async_.asyncio import Proxy

        proxy = self._proxy.reveal()
        try:
            if proxy.startswith("socks5:"):
                return await Proxy.from_url(proxy).connect(host, port, timeout=_LONGEST_S)
            return await _by_connect(proxy, host, port)
        except (ProxyConnectionError, ProxyError, ConnectionError) as error:
            raise ConnectionError(f"the proxy {self._shown} leads to no {host}:{port}: {error}") from error

    async def stream(self, host: str, port: int) -> "httpcore2.AsyncNetworkStream":
        """Return what an HTTP client of httpcore reads and writes. Raises `OSError`."""
        from gateway.connector.tunnelled import TunnelStream  # and httpcore, which only few gateways need

        reader, writer = await asyncio.open_connection(sock=await self.reach(host, port))
        return TunnelStream(reader, writer)


async def _by_connect(proxy: str, host: str, port: int) -> socket.socket:
    """Return a tunnel made by CONNECT (RFC 9110 §9.3.6), of which nothing was read beyond the proxy's answer.

    python-socks takes whatever comes first for the whole answer: less than it, or the first words of the other side.
    """
    parts = urlsplit(proxy)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if parts.password is not None:
        user = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(user.encode()).decode()}")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    made = await dialled([str(entry[4][0]) for entry in found], parts.port or 0, _LONGEST_S)
    try:
        await loop.sock_sendall(made, "\r\n".join([*lines, "", ""]).encode())
        await _agreed(made)
    except BaseException:
        made.close()
        raise
    return made


async def _agreed(made: socket.socket) -> None:
    """Read the answer to CONNECT, up to its end. Raises `ConnectionError` if it is not a yes."""
    said = bytearray()
    while not said.endswith(_END):
        came = await asyncio.get_running_loop().sock_recv(made, 1)
        said += came
        if not came or len(said) > _MOST_SAID:
            raise ConnectionError("its answer is not one to CONNECT")
    status = _STATUS.match(said)
    if status is None or not 200 <= int(status[1]) < 300:
        raise ConnectionError("it says " + plain(said.split(_END[:2], 1)[0].decode("latin-1"), 80))
