"""What is served beside `/mcp`, health and leases: OAuth metadata, operators, approvals, consent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.identity.refusal import HOW_TO_CALL
from gateway.transport.approval_pages import ApprovalPages
from gateway.transport.approvals import ApprovalsApi
from gateway.transport.consent import ConsentPages
from gateway.transport.hooks import HooksApi
from gateway.transport.metrics import MetricsApi
from gateway.transport.operator import OperatorApi
from gateway.transport.telemetry import TelemetryApi

__all__ = ["Sides", "build_sides"]

_NO_OAUTH: Final = f"Nobody logs in here. {HOW_TO_CALL}"
_ELSEWHERE: Final = "Nothing is here. MCP is served over Streamable HTTP at /mcp, and at /mcp/NAME for each endpoint."
_METADATA_PATH: Final = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True, slots=True)
class Sides:
    """What the side paths work with.

    `metadata` returns the RFC 9728 document, or None where OAuth is not configured. `jwks` is the public key with which
    what the gateway signs can be checked. `metrics` is None where nothing is counted.
    """

    operator: OperatorApi
    metadata: Callable[[], Mapping[str, Any] | None]
    approvals: ApprovalsApi
    deciding: ApprovalPages
    hooks: HooksApi
    consent: ConsentPages
    telemetry: TelemetryApi
    jwks: Mapping[str, Any]
    metrics: MetricsApi | None = None

    async def keys(self, request: Request) -> Response:
        """Show the gateway's public key."""
        del request
        return JSONResponse(self.jwks, media_type="application/jwk-set+json")

    async def resource_metadata(self, request: Request) -> Response:
        """Tell an OAuth client where to get a token."""
        del request
        metadata = self.metadata()
        return Response("Not Found", 404) if metadata is None else JSONResponse(metadata)

    async def registration(self, request: Request) -> Response:
        """Tell a client that was refused for want of a token, and tries OAuth where there is none, what to do."""
        del request
        if self.metadata() is not None:
            return Response("Not Found", 404)
        return JSONResponse({"error": "invalid_request", "error_description": _NO_OAUTH}, 400)


def build_sides(sides: Sides) -> Starlette:
    """Return the application for every path but `/mcp`, `/healthz` and `/-/lease`."""
    routes = [
        Route("/.well-known/jwks.json", sides.keys),
        *(Route(path, sides.resource_metadata) for path in (_METADATA_PATH, f"{_METADATA_PATH}/mcp")),
        Route("/register", sides.registration, methods=["POST"]),
        *sides.operator.routes(),
        *sides.approvals.routes(),
        *sides.deciding.routes(),
        *sides.hooks.routes(),
        *sides.consent.routes(),
        *sides.telemetry.routes(),
        *(sides.metrics.routes() if sides.metrics is not None else ()),
    ]
    return Starlette(routes=routes, exception_handlers={404: _not_here})


async def _not_here(request: Request, _: Exception) -> Response:
    """Tell who was given the gateway's address without its path, or an older transport's, where MCP is."""
    del request
    return JSONResponse({"error": _ELSEWHERE}, 404)
