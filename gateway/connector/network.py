"""Connections to judged addresses only: a name is resolved once, and the connection goes to what was judged."""

import asyncio
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Final, Protocol

import httpcore2

from gateway.connector.addresses import Address
from gateway.connector.dialing import Resolve, system_addresses
from gateway.connector.faults import Rejected
from gateway.connector.tunnel import Tunnel

__all__ = ["Judge", "PinnedNetwork"]

_MOST_ADDRESSES: Final = 8


class Judge(Protocol):
    """Says which addresses may be connected to."""

    def check_address(self, host: str, address: Address) -> None:
        """Let a connection for `host` be made to `address`. Raises `ConnectorFault`."""
        ...


class PinnedNetwork(httpcore2.AsyncNetworkBackend):
    """What an HTTP client of httpcore connects through. Another answer of the name server cannot come in between.

    Through a `tunnel`, names are looked up at its other end, so that only hosts which are addresses are judged here.
    """

    def __init__(self, judge: Judge, resolve: Resolve = system_addresses, tunnel: Tunnel | None = None) -> None:
        self._judge = judge
        self._resolve = resolve
        self._tunnel = tunnel
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of `host` that answers, if all of them may be reached."""
        try:
            async with asyncio.timeout(timeout):
                if self._tunnel is not None:
                    return await self._through(self._tunnel, host, port)
                addresses = await self._judged(host, port)
                return await self._first(addresses, port, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"no connection to {host}:{port} in time") from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: no rule speaks of files."""
        raise Rejected("A socket file is never connected to: only hosts can be allowed.")

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)

    async def _through(self, tunnel: Tunnel, host: str, port: int) -> httpcore2.AsyncNetworkStream:
        if _is_address(host):
            self._judge.check_address(host, ip_address(host))
        try:
            return await tunnel.stream(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error

    async def _judged(self, host: str, port: int) -> Sequence[Address]:
        try:
            answers = [host] if _is_address(host) else await self._resolve(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} has no address: {error.strerror}") from error
        addresses = [ip_address(answer.partition("%")[0]) for answer in answers]
        for address in addresses:
            self._judge.check_address(host, address)
        return addresses[:_MOST_ADDRESSES]

    async def _first(
        self,
        addresses: Sequence[Address],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        failed: httpcore2.ConnectError = httpcore2.ConnectError("the name has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(str(address), port, None, local_address, socket_options)
            except httpcore2.ConnectError as error:
                failed = error
        raise failed


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
