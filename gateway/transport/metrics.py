"""`GET /metrics`, for a scraper that holds the token."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.model.errors import StoreFault
from gateway.telemetry.exposition import Family, exposition
from gateway.transport.plain_json import json_answer

__all__ = ["MetricsApi"]

_OPENMETRICS: Final = "application/openmetrics-text"
_TYPES: Final = {
    False: "text/plain; version=0.0.4; charset=utf-8",
    True: f"{_OPENMETRICS}; version=1.0.0; charset=utf-8",
}
_HOW: Final = "Send the token of `metrics:` in gateway.yaml: Authorization: Bearer TOKEN"


@dataclass(frozen=True, slots=True)
class MetricsApi:
    """Answers a scraper with `families`, once it shows the `token` of now."""

    token: Callable[[], str | None]
    families: Callable[[], Awaitable[Sequence[Family]]]

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [Route("/metrics", self.scraped)]

    async def scraped(self, request: Request) -> Response:
        """Write the metrics down, as OpenMetrics for whoever asks for it."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        token = self.token()
        is_known = token is not None and hmac.compare_digest(given.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not is_known:
            refused = {"error": "unauthenticated", "message": _HOW}
            return json_answer(401, refused, {"WWW-Authenticate": 'Bearer realm="metrics"'})
        openmetrics = _OPENMETRICS in request.headers.get("accept", "")
        try:
            text = exposition(await self.families(), openmetrics=openmetrics)
        except StoreFault as fault:
            return json_answer(503, {"error": fault.code, "message": fault.message}, {"Retry-After": "5"})
        return Response(text, 200, {"Cache-Control": "no-store"}, media_type=_TYPES[openmetrics])
