"""One request, one bounded answer, in time, to where the rules allow."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpcore2

from connectors.egress import Egress, EgressConfig, PinnedNetwork, Resolve, Target, TargetRefused, system_addresses
from gateway.connector import Certificates, ConnectorFault, Measure, Rejected, TimedOut, Unavailable, plain

__all__ = ["Answer", "Exchange", "Request"]

_CONNECTIONS: Final = 64
_IDLE_CONNECTIONS: Final = 16
_IDLE_S: Final = 4.0
_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAFE: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `headers` are complete but for Host, Accept-Encoding and Content-Length."""

    method: str
    target: Target
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Header names are lower-case; of repeated ones the first counts, but `link` has them all."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Exchange:
    """An HTTP client that shares connections and nothing else: no cookies, no proxies, no decoding.

    It may be used again after `close`.
    """

    def __init__(
        self,
        egress: Egress,
        settings: EgressConfig,
        max_bytes: int,
        resolve: Resolve = system_addresses,
        certificates: Certificates | None = None,
    ) -> None:
        self._egress = egress
        self._settings = settings
        self._max_bytes = max_bytes
        self._resolve = resolve
        self._certificates = certificates or Certificates(None, Path(), settings.ca_file)
        self._pool: httpcore2.AsyncConnectionPool | None = None

    async def close(self) -> None:
        """Close every connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def send(self, request: Request, timeout_s: float, measure: Measure | None = None) -> Answer:
        """Return the answer; a read follows redirects within its origin, each held against the rules.

        `measure` is told of whatever comes in, also where it does not become an answer.

        Raises:
            EgressRefused: the rules do not allow it.
            ConnectorFault: no usable answer came; `sent` is False if nothing left.
        """
        sent = _Sent(measure or Measure())
        try:
            async with asyncio.timeout(timeout_s):
                return await self._follow(request, sent)
        except TimeoutError as error:
            raise TimedOut("The service did not answer in time.", sent=bool(sent)) from error
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            text = f"No connection to {request.target.origin}."
            raise Unavailable(text, detail=plain(error), sent=bool(sent)) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            detail = f"{type(error).__name__}: {plain(error)}"
            raise Unavailable("The service broke the connection off.", detail=detail, sent=bool(sent)) from error

    async def _follow(self, request: Request, sent: "_Sent") -> Answer:
        for _ in range(_MAX_REDIRECTS + 1):
            self._egress.check(request.method, request.target)
            answer = await self._once(request, sent)
            if answer.status not in _REDIRECTS or request.method not in _SAFE:
                return answer
            request = _redirected(request, answer)
        raise Rejected("The service redirects without end.", detail=f"more than {_MAX_REDIRECTS} redirects")

    async def _once(self, request: Request, sent: "_Sent") -> Answer:
        tls = self._tls() if request.target.scheme == "https" else None
        if self._pool is None:
            self._pool = httpcore2.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
                network_backend=PinnedNetwork(self._egress, self._resolve, self._settings.tunnel()),
            )
        response = await self._pool.handle_async_request(_as_sent(request, self._settings.connect_timeout_s, sent))
        try:
            headers = _headers(response.headers)
            sent.measure.add(0, response.status)
            body = await self._body(response, headers, sent.measure)
        finally:
            await response.aclose()
        return Answer(response.status, headers, body)

    def _tls(self) -> ssl.SSLContext:
        """Return what the next connection uses: one object, which shows the client certificate as its file is now."""
        try:
            return self._certificates.tls()
        except OSError as error:
            text = "The gateway's own certificate for this service cannot be used."
            raise ConnectorFault(text, code="credential_expired", detail=plain(error), sent=False) from error

    async def _body(self, response: httpcore2.Response, headers: Mapping[str, str], measure: Measure) -> bytes:
        if headers.get("content-encoding", "identity").lower() not in {"identity", ""}:
            raise _unusable("it is compressed, though it was asked not to be")
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            measure.add(len(chunk))
            if len(body) > self._max_bytes:
                raise _unusable(f"it is larger than {self._max_bytes} bytes (answers.max_bytes)")
        return bytes(body)


class _Sent:
    """Whether anything of a request may have left, and what came back."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self._sent = False

    def __bool__(self) -> bool:
        return self._sent

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        del info
        self._sent = self._sent or event == "http11.send_request_headers.started"


def _as_sent(request: Request, connect_s: float, sent: _Sent) -> httpcore2.Request:
    target = request.target
    headers = [("Host", target.authority), ("Accept-Encoding", "identity"), *request.headers]
    if request.body is not None:
        headers.append(("Content-Length", str(len(request.body))))
    elif request.method in {"POST", "PUT", "PATCH"}:
        headers.append(("Content-Length", "0"))
    return httpcore2.Request(
        method=request.method,
        url=httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.sent),
        headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in headers],
        content=request.body or b"",
        extensions={"timeout": {"connect": connect_s}, "trace": sent},
    )


def _headers(raw: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        if key == "link" and key in headers:
            headers[key] += f", {text}"
        else:
            headers.setdefault(key, text)
    return headers


def _redirected(request: Request, answer: Answer) -> Request:
    """Return the request a redirect asks for, if it stays where it was."""
    place = answer.headers.get("location", "")
    try:
        target = Target.read(request.target.origin + place if place.startswith("/") and place[1:2] != "/" else place)
    except TargetRefused as error:
        raise Rejected("The service redirects to something that is no URL.", detail=str(error)) from None
    if target.origin != request.target.origin:
        raise Rejected(
            "The service redirects to another place, which is not followed; correct base_url.",
            detail=f"HTTP {answer.status} to {target.origin}",
        )
    return Request(request.method, target, request.headers, request.body)


def _unusable(why: str) -> ConnectorFault:
    return ConnectorFault("The service's answer cannot be used: " + why + ".", code="contract_broken")
