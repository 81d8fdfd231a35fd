"""Where agents' telemetry says what their models used up: `POST /v1/traces`, as OTLP over HTTP has it."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.budget.telemetry import MEDIA_TYPES, usage_in
from gateway.model.errors import IdentityFault, LimitFault, RequestFault, StoreFault
from gateway.model.identity import Identity
from gateway.model.request import Caller
from gateway.pipeline.usage import UsageReports
from gateway.transport.exchange import Exchange
from gateway.transport.plain_json import json_answer

__all__ = ["TelemetryApi"]

_MOST_BYTES: Final = 4 * 1024 * 1024
_CODINGS: Final = ("gzip", "identity")
_GZIP: Final = 16 + zlib.MAX_WBITS


class TelemetryApi:
    """Takes spans from known agents. Nothing of a span is kept but its id, its model and its tokens."""

    def __init__(
        self,
        identify: Callable[[Caller, str], Awaitable[Identity]],
        admit: Callable[[Identity], None],
        reports: UsageReports,
    ) -> None:
        self._identify = identify
        self._admit = admit
        self._reports = reports

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [Route("/v1/traces", self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """Take one export."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = request.headers.get("content-encoding", "identity").lower()
        if media_type not in MEDIA_TYPES or coding not in _CODINGS:
            taken = f"{' or '.join(MEDIA_TYPES)}, compressed with gzip or not at all"
            return json_answer(415, {"message": f"Spans are taken as {taken}."})
        try:
            exchange = Exchange(request.scope, request.receive, request._send)
            identity = await self._identify(exchange.caller(), "telemetry")
            self._admit(identity)
            usage = await asyncio.to_thread(usage_in, await _body(request, coding), media_type)  # it may be megabytes
            await self._reports.take(identity, usage)
        except IdentityFault as fault:
            return json_answer(401, {"message": fault.message})
        except LimitFault as fault:
            return json_answer(429, {"message": fault.message}, {"Retry-After": "1"})
        except RequestFault as fault:
            return json_answer(413 if fault.code == "too_large" else 400, {"message": fault.message})
        except StoreFault as fault:
            return json_answer(503, {"message": fault.message}, {"Retry-After": "5"})
        empty = b"{}" if media_type == "application/json" else b""  # an export response that refuses nothing
        return Response(empty, 200, media_type=media_type)


async def _body(request: Request, coding: str) -> bytes:
    """Return the body as it was before it was compressed, if it was. Raises `RequestFault`."""
    unpack = zlib.decompressobj(_GZIP) if coding == "gzip" else None
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk if unpack is None else unpack.decompress(chunk, _MOST_BYTES + 1 - len(body))
            if len(body) > _MOST_BYTES or (unpack is not None and unpack.unconsumed_tail):
                raise RequestFault(f"At most {_MOST_BYTES} bytes at once: export in smaller batches.", code="too_large")
    except (zlib.error, ClientDisconnect) as error:
        raise RequestFault(f"The body cannot be read: {error}") from None
    return body
