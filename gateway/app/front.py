"""Builds what clients talk to: the MCP endpoint in every era, and the HTTP sides around it."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.app.parts import Parts
from gateway.transport.beside import Asgi, Beside
from gateway.transport.browsers import open_to
from gateway.transport.endpoint import Door, Eras, McpEndpoint
from gateway.transport.guard import Guard
from gateway.transport.input import Inputs
from gateway.transport.kernel import Kernel
from gateway.transport.leases import Lessor
from gateway.transport.legacy import Legacy
from gateway.transport.modern import Modern
from gateway.transport.server import build_asgi
from gateway.transport.sessions import Sessions
from gateway.transport.tasks import TaskDesk
from gateway.transport.welcome import Welcome

__all__ = ["Asgi", "Front", "build_front", "operator_token"]


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

    def rest() -> Asgi:
        from gateway.app.beside import build_rest  # starlette and the pages, which an ordinary gateway never serves

        return build_rest(parts, operator_token(parts.local_key), status)

    beside = Beside(guard, Lessor(parts.leases, parts.listing.identify), rest)
    return Front(open_to(parts.config.server.origins, build_asgi(endpoint, beside)), ends)
