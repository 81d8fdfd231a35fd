"""The whole HTTP application over a scripted gateway, without a socket."""

from collections.abc import Mapping
from typing import Any

import httpx2

from gateway.credentials.visitors import Visitors
from gateway.identity.key_source import KeyRing
from gateway.identity.local import local_bearer
from gateway.identity.metadata import challenge
from gateway.identity.people import PeopleDoor
from gateway.identity.recognising import Known, Recognising
from gateway.identity.token_index import TokenIndex
from gateway.model.errors import IdentityFault
from gateway.pipeline.hooks import Hooks
from gateway.pipeline.trying import Trying
from gateway.pipeline.usage import UsageReports
from gateway.transport.approval_pages import ApprovalPages
from gateway.transport.approvals import ApprovalsApi
from gateway.transport.beside import Beside
from gateway.transport.consent import ConsentPages
from gateway.transport.endpoint import Door, Eras, McpEndpoint
from gateway.transport.guard import Guard
from gateway.transport.hooks import HooksApi
from gateway.transport.input import Inputs
from gateway.transport.kernel import Kernel
from gateway.transport.leases import Leases, Lessor
from gateway.transport.legacy import Legacy
from gateway.transport.modern import Modern
from gateway.transport.operator import OperatorApi
from gateway.transport.server import build_asgi
from gateway.transport.sessions import Sessions
from gateway.transport.sides import Sides, build_sides
from gateway.transport.tasks import TaskDesk
from gateway.transport.telemetry import TelemetryApi
from gateway.transport.welcome import Welcome
from tests.pipeline.gate import LOCAL_KEY, Gate

__all__ = ["ENVELOPE", "LEGACY", "METADATA", "MODERN", "OPERATOR", "Front", "bearer"]

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
OPERATOR = "operator-token"
KEYS = {"keys": [{"kty": "EC", "kid": "k1"}]}
METADATA = {"resource": "https://gate.example/mcp", "authorization_servers": ["https://issuer.example"]}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def bearer(agent: str = "payer") -> str:
    """What a registered agent sends as its Authorization."""
    return f"Bearer {local_bearer(LOCAL_KEY, agent)}"


class Front:
    """Requests to one gateway. `delivered` lists the calls whose answers are said to have arrived.

    `session` is for whoever opens one.
    """

    def __init__(
        self, gate: Gate | None = None, *, metadata: Mapping[str, Any] | None = METADATA, body_limit: int = 10_000
    ) -> None:
        self.gate = gate or Gate()
        self.delivered: list[str] = []
        self.session = ""
        self.leases = Leases()
        gate = self.gate
        kernel = Kernel(gate.entry, gate.listing, gate.directory, gate.rules)
        guard = Guard.build("127.0.0.1", 8750)
        door = Door(guard, _challenge, self._deliver, body_limit=body_limit)
        welcome = Welcome(gate.upstreams, gate.directory)
        desk = TaskDesk(kernel, gate.tasks, gate.directory)
        self.sessions = Sessions(b"s" * 32, gate.clock, gate.store)
        self.inputs = Inputs(b"s" * 32, gate.clock, gate.store, gate.pages)
        self.of_sessions = Legacy(kernel, self.sessions, gate.notices, welcome, desk)
        eras = Eras(Modern(kernel, self.inputs, gate.notices, welcome, desk), self.of_sessions)
        self.endpoint = McpEndpoint(kernel, eras, door)
        operator = OperatorApi(OPERATOR, lambda: {"servers": {}}, gate.rollback, Trying(gate.runner))
        self.hooks = Hooks(gate.store, gate.clock, gate.ids, gate.redactor.record)
        self.tokens = TokenIndex(gate.store, gate.clock)
        people = PeopleDoor(self.tokens, gate.clock)
        approvals = ApprovalsApi(gate.approving.desk, people.identify, gate.clock)
        known = Known([], [], {name: (name,) for name in gate.rules.current.people}, 30)
        gate.pages.site.serve_at("127.0.0.1", 8750, "")
        gate.approving.found_at(gate.pages.site)
        recognising = Recognising(lambda: known, people, KeyRing(gate.clock), gate.clock)
        visitors = Visitors(recognising, gate.pages.site, gate.store, gate.clock)
        visitors.heeds = gate.strangers.may
        sides = Sides(
            operator,
            lambda: metadata,
            approvals,
            ApprovalPages(gate.approving.desk, visitors, gate.store, gate.clock),
            HooksApi(self.hooks),
            ConsentPages(gate.pages),
            TelemetryApi(gate.listing.identify, gate.listing.admit, self.reports()),
            KEYS,
        )
        lessor = Lessor(self.leases, gate.listing.identify)
        self.app = build_asgi(self.endpoint, Beside(guard, lessor, lambda: build_sides(sides)))

    def reports(self) -> UsageReports:
        """Return what takes reports of models' tokens, as after a start."""
        return UsageReports(self.gate.store, self.gate.rules, self.gate.clock, self.gate.redactor.record)

    async def _deliver(self, call_id: str, attempt: int) -> None:
        self.delivered.append(call_id)
        await self.gate.store.deliver(call_id, attempt)

    async def send(
        self, method: str, path: str = "/mcp", *, peer: str = "127.0.0.1", **options: Any
    ) -> httpx2.Response:
        """Send one request as it is."""
        transport = httpx2.ASGITransport(app=self.app, client=(peer, 50_000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8750") as http:
            return await http.request(method, path, **options)

    async def modern(
        self, method: str, params: Mapping[str, Any] | None = None, *, request_id: Any = 1, **headers: str
    ) -> httpx2.Response:
        """Send a 2026-07-28 request of `payer`; headers may be added or replaced (underscores for dashes)."""
        given = dict(params or {})
        given["_meta"] = {**ENVELOPE, **given.get("_meta", {})}
        named = {
            "authorization": bearer(),
            "mcp-protocol-version": MODERN,
            "mcp-method": method,
            **({"mcp-name": str(given["name"])} if "name" in given else {}),
            **_dashed(headers),
        }
        return await self.send("POST", json=_message(method, given, request_id), headers=named)

    async def initialize(self, version: str = LEGACY, **headers: str) -> str:
        """Open a legacy session; return its id."""
        answer = await self.legacy("initialize", {"protocolVersion": version}, **headers)
        return str(answer.headers["mcp-session-id"])

    async def legacy(
        self, method: str, params: Mapping[str, Any] | None = None, *, request_id: Any = 1, **headers: str
    ) -> httpx2.Response:
        """Send a request of the handshake eras of `payer`."""
        named = {"authorization": bearer(), **_dashed(headers)}
        return await self.send("POST", json=_message(method, params, request_id), headers=named)


def _challenge(fault: IdentityFault, presented: bool) -> str:
    return challenge(fault, presented=presented)


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _message(method: str, params: Mapping[str, Any] | None, request_id: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    if request_id is not None:
        message["id"] = request_id
    return message
