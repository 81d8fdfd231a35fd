"""A run's passport: what the gateway states of a piece of work, signed; and how anybody checks it, offline."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway.ledger.signing import NotSigned, SigningKey, signed_claims
from gateway.ledger.trace import latest_lines
from gateway.model.errors import StoreFault
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.store.ports import EventFilter, Ledger

__all__ = ["PASSPORT", "Bearer", "Head", "Step", "head_of", "passport", "read_passport", "steps_of"]

PASSPORT: Final = "toolgate-passport+jwt"
"""The `typ` of a passport. It is no credential: the gateway lets nobody in with one."""

_STEPS: Final = 20
_EARLY_MS: Final = 60_000
_CLAIMS: Final[Mapping[str, type]] = {
    "iss": str,
    "sub": str,
    "jti": str,
    "iat": int,
    "exp": int,
    "run": str,
    "scopes": list,
    "ledger": dict,
    "steps": dict,
}
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose passport it is: an identity at work in a run, what it may use, and what is left of its budgets.

    Who acts is stated by SPIFFE ids of `trust_domain`, where there is one.
    """

    identity: Identity
    run: RunRef
    scopes: Sequence[str]
    budgets: Sequence[Json] = ()
    trust_domain: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of the ledger: its number, and the hash that it and all before it come to."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the run. `arguments` is their digest, `by` the agent or child that made it."""

    call: str
    tool: str
    by: str
    at: str
    outcome: str
    arguments: str


async def steps_of(ledger: Ledger, run_id: str, apart: frozenset[str]) -> list[Step]:
    """Return the latest calls of a run, but for those of the servers `apart`. Raises `StoreFault`."""
    lines = await latest_lines(ledger, EventFilter(run_id=run_id, limit=_STEPS))
    return [
        Step(
            line.call_id,
            line.tool,
            line.who,
            datetime.fromtimestamp(line.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
            line.outcome,
            str(line.asked.get("arguments_digest", "")),
        )
        for line in lines
        if line.tool.partition(".")[0] not in apart
    ]


async def head_of(ledger: Ledger) -> Head:
    """Return where the ledger ends. Raises `StoreFault`: nowhere, it is empty."""
    async for event in ledger.events(EventFilter(limit=1, latest=True)):
        return Head(event.seq, event.hash)
    raise StoreFault("The ledger is empty: there is nothing to vouch for.")


def passport(
    key: SigningKey, bearer: Bearer, issued: Mapping[str, Any], head: Head, steps: tuple[int, Sequence[Step]]
) -> str:
    """Return a passport. `issued` are the registered claims: `iss`, `jti`, `iat`, `exp`, and `aud` where it has one.

    `steps` are how many calls the run holds, and the latest of them. For a child, `act` is the chain of RFC 8693: the
    child, and whoever it stands under.
    """
    identity, run = bearer.identity, bearer.run
    who = identity.agent if identity.child is None else identity.child.name
    claims: dict[str, Any] = {
        **issued,
        "sub": _named(who.partition(":")[0], bearer.trust_domain),
        **({} if identity.child is None else {"act": _acting(who, bearer.trust_domain)}),
        **({} if identity.on_behalf_of is None else {"on_behalf_of": identity.on_behalf_of}),
        "owner": identity.owner,
        "run": run.id,
        "run_owner": run.owner,
        "scopes": list(bearer.scopes),
        "budgets": [dict(each) for each in bearer.budgets],
        "ledger": asdict(head),
        "steps": {"count": steps[0], "last": [asdict(step) for step in steps[1]]},
    }
    return key.sign(claims, PASSPORT)


def _acting(name: str, domain: str) -> dict[str, Any]:
    """Return the `act` claim of a child: `{"sub": "payer:reader:ocr", "act": {"sub": "payer:reader"}}`."""
    above, sub = name.rpartition(":")[0], _named(name, domain)
    return {"sub": sub, "act": _acting(above, domain)} if ":" in above else {"sub": sub}


def _named(name: str, domain: str) -> str:
    """Return a name as a SPIFFE id (https://spiffe.io/docs/latest/spiffe-about/spiffe-concepts/), or as it is."""
    return f"spiffe://{domain}/agent/{name.replace(':', '/')}" if domain else name


def read_passport(token: str, jwks: Json, now_ms: int) -> dict[str, Any]:
    """Return what a passport says, if a key of `jwks` signed it and its time is now.

    Raises:
        NotSigned: it is none, or not now; the text says why.
    """
    claims = signed_claims(token, jwks, PASSPORT)
    for name, kind in _CLAIMS.items():
        if type(claims.get(name)) is not kind:
            raise NotSigned(f"it does not say {name!r} as a passport does")
    head = claims["ledger"]
    if type(head.get("seq")) is not int or type(head.get("hash")) is not str:
        raise NotSigned("it does not say where the ledger ended")
    if claims["exp"] * 1000 <= now_ms:
        raise NotSigned(f"it has expired at {_moment(claims['exp'])}")
    if claims["iat"] * 1000 > now_ms + _EARLY_MS:
        raise NotSigned(f"it is from the future ({_moment(claims['iat'])}): look at this machine's clock")
    return claims


def _moment(at_s: int) -> str:
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return str(at_s)
