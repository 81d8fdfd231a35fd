"""Builds what is served beside `/mcp`, health and leases: loaded for the first who asks for any of it."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.app.parts import Parts
from gateway.identity.metadata import resource_metadata
from gateway.identity.people import PeopleDoor
from gateway.pipeline.rollback import Rollback
from gateway.pipeline.trying import Trying
from gateway.pipeline.usage import UsageReports
from gateway.transport.approval_pages import ApprovalPages
from gateway.transport.approvals import ApprovalsApi
from gateway.transport.beside import Asgi
from gateway.transport.consent import ConsentPages
from gateway.transport.hooks import HooksApi
from gateway.transport.operator import OperatorApi
from gateway.transport.sides import Sides, build_sides
from gateway.transport.telemetry import TelemetryApi

__all__ = ["build_rest"]


def build_rest(parts: Parts, token: str, status: Callable[[], Mapping[str, Any]]) -> Asgi:
    """Return the application over the parts, whose runner is built; who shows `token` is told the `status`."""
    rollback = Rollback(parts.runner, parts.store, parts.rules, parts.owned, parts.clock)
    reports = UsageReports(parts.store, parts.rules, parts.clock, parts.redactor.record)
    return build_sides(
        Sides(
            OperatorApi(token, status, rollback, Trying(parts.runner)),
            lambda: resource_metadata(parts.config.identity, parts.config.agents),
            ApprovalsApi(parts.approving.desk, PeopleDoor(parts.tokens, parts.clock).identify, parts.clock),
            ApprovalPages(parts.approving.desk, parts.visitors, parts.store, parts.clock),
            HooksApi(parts.hooks),
            ConsentPages(parts.pages),
            TelemetryApi(parts.listing.identify, parts.listing.admit, reports),
            parts.signing.jwks(),
        )
    )
