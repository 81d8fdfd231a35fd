"""Builds what clients talk to: the MCP endpoint in every era, and the HTTP sides around it."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from gateway.app.parts import Parts
from gateway.identity.metadata import resource_metadata
from gateway.identity.people import PeopleDoor
from gateway.pipeline.rollback import Rollback
from gateway.pipeline.trying import Trying
from gateway.pipeline.usage import UsageReports
from gateway.transport.approval_pages import ApprovalPages
from gateway.transport.approvals import ApprovalsApi
from gateway.transport.consent import ConsentPages
from gateway.transport.endpoint import Door, Eras, McpEndpoint
from gateway.transport.guard import Guard
from gateway.transport.hooks import HooksApi
from gateway.transport.input import Inputs
from gateway.transport.kernel import Kernel
from gateway.transport.legacy import Legacy
from gateway.transport.modern import Modern
from gateway.transport.operator import OperatorApi
from gateway.transport.server import build_asgi
from gateway.transport.sessions import Sessions
from gateway.transport.sides import Sides
from gateway.transport.tasks import TaskDesk
from gateway.transport.telemetry import TelemetryApi
from gateway.transport.welcome import Welcome

__all__ = ["Asgi", "Front", "build_front", "operator_token"]

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Front:
    """What serves clients; each of `ends` ends what has no end of its own."""

    asgi: Asgi
    ends: tuple[Callable[[], None], ...]


def operator_token(local_key: bytes) -> str:
    """Return what a command of the gateway's own user presents to the running gateway."""
    return hmac.digest(local_key, b"\0toolgate operator", "sha256").hex()


def build_front(parts: Parts, guard: Guard, status: Callable[[], Mapping[str, Any]]) -> Front:
    """Return what serves clients over the parts, whose runner is built; `status` is what the operator is told."""
    sessions = Sessions(parts.session_key, parts.clock, parts.store)
    kernel = Kernel(parts.entry(), parts.listing, parts.directory, parts.rules)
    welcome = Welcome(parts.upstreams, parts.directory)
    desk = TaskDesk(kernel, parts.task_requests.tasks, parts.directory)
    inputs = Inputs(parts.session_key, parts.clock, parts.store, parts.pages)
    legacy = Legacy(kernel, sessions, parts.notices, welcome, desk)
    ends = (parts.notices.stop, sessions.stop, inputs.stop, parts.task_requests.stop, parts.pages.stop, legacy.stop)
    eras = Eras(Modern(kernel, inputs, parts.notices, welcome, desk), legacy)
    endpoint = McpEndpoint(kernel, eras, Door(guard, parts.challenge, parts.recollections.deliver))
    rollback = Rollback(parts.runner, parts.store, parts.rules, parts.owned, parts.clock)
    reports = UsageReports(parts.store, parts.rules, parts.clock, parts.redactor.record)
    sides = Sides(
        parts.leases,
        parts.listing.identify,
        OperatorApi(operator_token(parts.local_key), status, rollback, Trying(parts.runner)),
        resource_metadata(parts.config.identity, parts.config.agents),
        ApprovalsApi(parts.approving.desk, PeopleDoor(parts.tokens, parts.clock).identify, parts.clock),
        ApprovalPages(parts.approving.desk, parts.visitors, parts.store, parts.clock),
        HooksApi(parts.hooks),
        ConsentPages(parts.pages),
        TelemetryApi(parts.listing.identify, parts.listing.admit, reports),
        parts.signing.jwks(),
    )
    return Front(build_asgi(endpoint, guard, sides), ends)
