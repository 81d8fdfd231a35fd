"""What the attacks on the front door share."""

from base64 import b64encode
from typing import Any

from gateway.store.ports import Event, EventFilter, EventKind
from tests.identity.doubles import Signer
from tests.live.inside import Inside
from tests.live.raw import Peer

__all__ = ["AUDIENCE", "ISSUER", "SECRET", "SIGNER", "claims", "events", "header", "peer"]

SECRET = "canary-Zq7/v3+x9-probe-key"
ISSUER = "https://issuer.example"
AUDIENCE = "https://gate.example/mcp"
SIGNER = Signer()


async def peer(gate: Inside, era: str = "modern", agent: str = "payer") -> Peer:
    """Return a connected, well-behaved peer."""
    return await Peer(gate.url, gate.tokens[agent], era).connect()


async def events(gate: Inside) -> list[Event]:
    """Return everything in the ledger but what the gateway writes there by the clock: where the ledger ends."""
    everything = gate.gateway.store.events(EventFilter(limit=1_000_000))
    return [event async for event in everything if event.kind is not EventKind.HEAD_SIGNED]


def claims(gate: Inside, **changes: Any) -> dict[str, Any]:
    """Return the claims of a JWT that proves the agent jay."""
    now = gate.clock.now_ms() // 1000
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "jay", "iat": now, "exp": now + 600} | changes


def header(value: str) -> str:
    """Return a value as the specification lets a header carry any text."""
    return f"=?base64?{b64encode(value.encode()).decode()}?="
