"""Builds what is served beside `/mcp`, health and leases: loaded for the first who asks for any of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.app.parts import Parts
from gateway.identity.metadata import resource_metadata
from gateway.identity.people import PeopleDoor
from gateway.pipeline.rollback import Rollback
from gateway.pipeline.trying import Trying
from gateway.pipeline.usage import UsageReports
from gateway.telemetry.exposition import Family
from gateway.telemetry.standing import standing
from gateway.transport.approval_pages import ApprovalPages
from gateway.transport.approvals import ApprovalsApi
from gateway.transport.beside import Asgi
from gateway.transport.consent import ConsentPages
from gateway.transport.hooks import HooksApi
from gateway.transport.metrics import MetricsApi
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
            _metrics(parts, status),
        )
    )


def _metrics(parts: Parts, status: Callable[[], Mapping[str, Any]]) -> MetricsApi | None:
    """Return what answers scrapers, where calls are counted."""
    counts = parts.counts
    if counts is None:
        return None

    def token() -> str | None:
        section = parts.config.metrics
        return None if section is None else section.token.get_secret_value()

    async def families() -> Sequence[Family]:
        now = parts.clock.now_ms()
        asked = [each.overdue for each in await parts.approving.approvals.listed() if each.is_pending(now)]
        waiting = {"false": asked.count(False), "true": asked.count(True)}
        return (*counts.families(), *standing(status(), waiting, counts.since_ms / 1000))

    return MetricsApi(token, families)
