"""Requests to authorization servers: bounded, never redirected, over TLS, and only to where they may go."""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from gateway.codec import CodecError, dump, parse
from gateway.connector.addresses import Address, Reach, judged
from gateway.connector.dialing import Resolve, system_addresses
from gateway.connector.faults import parse_retry_after
from gateway.connector.target import Target, TargetRefused
from gateway.connector.tunnel import Tunnel
from gateway.credentials.fault import unsent, unusable
from gateway.model.clock import Clock

if TYPE_CHECKING:
    import httpcore2

__all__ = ["Fetch", "Page", "Where"]

_TIME_S: Final = 10.0
_MOST_BYTES: Final = 256 * 1024


class Where:
    """Which URLs may be asked. Hosts the operator named may be on private addresses, and this machine without TLS."""

    def __init__(self, named: Iterable[str]) -> None:
        self._named = frozenset(named)

    def check(self, url: str) -> Target:
        """Return what `url` says, if it may be asked. Raises `ConnectorFault`."""
        try:
            target = Target.read(url)
        except TargetRefused as error:
            raise unusable(
                "The authorization server's metadata names an address that is none.", detail=str(error)
            ) from None
        if target.scheme != "https" and not (target.host in self._named and _is_this_machine(target)):
            raise unusable(f"{target.origin} is refused: tokens are only asked for over https.")
        if target.address is not None:
            self.check_address(target.host, target.address)
        return target

    def check_address(self, host: str, address: Address) -> None:
        """Let a connection for `host` be made to `address`. Raises `ConnectorFault`."""
        reach, kind = judged(address)
        if reach is Reach.PUBLIC or str(address) in self._named or (reach is Reach.PRIVATE and host in self._named):
            return
        raise unusable(f"{host} is refused: it is at {kind}, and `allow_private` does not name it.")


def _is_this_machine(target: Target) -> bool:
    return target.host == "localhost" or (target.address is not None and target.address.is_loopback)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer; header names are lower-case. `document` is its JSON object, empty where it is none."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)

    def wait_s(self, clock: Clock) -> float | None:
        """Return what Retry-After says, in seconds."""
        return parse_retry_after(self.headers.get("retry-after"), clock.now_ms())


class Fetch:
    """Asks one authorization server, and the metadata of one MCP server. No connection is kept."""

    def __init__(
        self,
        where: Where,
        ca_file: str | None = None,
        resolve: Resolve = system_addresses,
        tunnel: Tunnel | None = None,
    ) -> None:
        self.where: Final = where
        self._ca_file = ca_file
        self._resolve = resolve
        self._tunnel = tunnel
        self._tls: ssl.SSLContext | None = None

    async def get(self, url: str) -> Page:
        """GET a JSON document. Raises `ConnectorFault`; a status is none."""
        return await self._send("GET", url, {"Accept": "application/json"}, b"")

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Page:
        """POST a form. Raises `ConnectorFault`; a status is none."""
        kind = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        return await self._send("POST", url, {**kind, **headers}, urlencode(form).encode())

    async def post_json(self, url: str, document: Mapping[str, Any]) -> Page:
        """POST a JSON document. Raises `ConnectorFault`; a status is none."""
        kind = {"Accept": "application/json", "Content-Type": "application/json"}
        return await self._send("POST", url, kind, dump(document))

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Page:
        import httpcore2  # which only those gateways need that ask for credentials

        target = self.where.check(url)
        lines = {"Host": target.authority, "Accept-Encoding": "identity", "User-Agent": "toolgate", **headers}
        if method == "POST":
            lines["Content-Length"] = str(len(body))
        request = httpcore2.Request(
            method=method,
            url=httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.sent),
            headers=[(name.encode(), value.encode("latin-1")) for name, value in lines.items()],
            content=body,
        )
        try:
            async with asyncio.timeout(_TIME_S):
                return await self._answer(request)
        except TimeoutError:
            raise unsent(f"{target.origin} did not answer in time, so there is no credential.") from None
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            detail = f"{target.origin}: {type(error).__name__}"
            raise unsent(f"{target.origin} cannot be asked for a credential.", detail=detail) from error

    async def _answer(self, request: "httpcore2.Request") -> Page:
        import httpcore2

        from gateway.connector.network import PinnedNetwork

        network = PinnedNetwork(self.where, self._resolve, self._tunnel)
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
        async with httpcore2.AsyncConnectionPool(ssl_context=self._tls, network_backend=network) as pool:
            response = await pool.handle_async_request(request)
            try:
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                body = await _body(response, headers)
            finally:
                await response.aclose()
        try:
            document = parse(body)
        except CodecError:
            document = None
        return Page(response.status, headers, document if isinstance(document, dict) else {})


async def _body(response: "httpcore2.Response", headers: Mapping[str, str]) -> bytes:
    if headers.get("content-encoding", "identity").lower() not in {"identity", ""}:
        raise unusable("The authorization server compressed its answer, though it was asked not to.")
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise unusable("The authorization server's answer is too large.")
    return bytes(body)
