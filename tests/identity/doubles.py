"""A clock that moves when told to, ids that count, an identity provider with real keys."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import TypeAdapter

from gateway.identity.config import AgentConfig, Agents
from gateway.model.identity import Credential

T0_MS = 1_800_000_000_000


class HandClock:
    """Time stands still until `advance`; sleepers wake when their time has come."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return T0_MS + round(self._now * 1000)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, woken))
        await woken

    def jump(self, seconds: float) -> None:
        """Move time without letting anybody run."""
        self._now += seconds

    async def advance(self, seconds: float) -> None:
        """Move time, wake who is due, and let everybody run until they wait again."""
        self._now += seconds
        due = [woken for at, woken in self._sleepers if at <= self._now]
        self._sleepers = [(at, woken) for at, woken in self._sleepers if at > self._now]
        for woken in due:
            if not woken.done():
                woken.set_result(None)
        await settle()


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


class CountingIds:
    """Ids in order: `tg_0…01`, `tg_0…02`."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:032x}"

    def fraction(self) -> float:
        return 0.5


def agents(**sections: Mapping[str, Any]) -> dict[str, AgentConfig]:
    """Read an `agents:` section."""
    return TypeAdapter(Agents).validate_python(sections)


def bearer(value: str) -> Credential:
    return Credential("bearer", value)


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Signer:
    """A key pair of an identity provider."""

    def __init__(self, kid: str | None = "k1", algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        if algorithm.startswith("ES"):
            curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[algorithm]()
            self.private: Any = ec.generate_private_key(curve)
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def jwk(self) -> dict[str, Any]:
        found = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        named = {} if self.kid is None else {"kid": self.kid}
        return {**{k: v for k, v in found.items() if k != "key_ops"}, **named, "use": "sig", "alg": self.algorithm}

    def token(self, claims: Mapping[str, Any], **header: Any) -> str:
        headers = {} if self.kid is None else {"kid": self.kid}
        return jwt.encode(dict(claims), self.private, self.algorithm, headers={**headers, **header})
