"""JWTs from identity providers: which agent they prove, and on whose behalf (RFC 7519, RFC 8693 §4.1, RFC 8725)."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.identity.config import AgentConfig, JwtAuth
from gateway.identity.jwt_claims import Claims, credential_id, read_jwt, subject_name
from gateway.identity.key_fetch import KeysUnavailable
from gateway.identity.key_source import KeyRing, KeySource
from gateway.identity.refusal import expired, refused
from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.model.identity import Identity

if TYPE_CHECKING:
    from jwt import PyJWK

__all__ = ["CACHE_MS", "CACHE_SIZE", "JwtVerifier"]

CACHE_MS: Final = 300_000
CACHE_SIZE: Final = 4096
_MAX_TIME: Final = 253_402_300_799  # the year 9999, seconds


@dataclass(frozen=True, slots=True)
class _Binding:
    """What proves one agent."""

    agent: str
    config: AgentConfig
    auth: JwtAuth
    keys: KeySource


class JwtVerifier:
    """Verifies JWTs for the agents it was built with; a new configuration gets a new one.

    A verified token is remembered by digest until it expires, and for CACHE_MS milliseconds at most, so that a
    key the issuer withdrew stops counting.
    """

    def __init__(self, agents: Mapping[str, AgentConfig], keys: KeyRing, clock: Clock, *, skew_s: int) -> None:
        self._clock = clock
        self._skew_s = skew_s
        self._bindings: dict[tuple[str | None, str], list[_Binding]] = {}
        self._clients: dict[tuple[str | None, str], list[_Binding]] = {}
        self._verified: OrderedDict[bytes, tuple[int, Identity]] = OrderedDict()
        for name, config in agents.items():
            if (auth := config.auth.jwt) is not None:
                binding = _Binding(name, config, auth, keys.source(auth))
                known, named = (self._clients, auth.client) if auth.client else (self._bindings, auth.subject)
                known.setdefault((auth.issuer, named), []).append(binding)

    def cached(self, token: str) -> Identity | None:
        """Return the identity of a token verified before and still valid, else None."""
        key = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(key)
        if known is None:
            return None
        if self._clock.now_ms() >= known[0]:
            del self._verified[key]
            return None
        self._verified.move_to_end(key)
        return known[1]

    async def verify(self, token: str) -> Identity:
        """Return whom `token` proves.

        Raises:
            IdentityFault: it proves nobody, or has expired.
            StoreFault: the issuer's keys cannot be had right now.
        """
        read = read_jwt(token)
        binding = self._binding(read)
        algorithm = read.header.get("alg")
        if algorithm not in binding.auth.algorithms:
            raise refused("the algorithm is not accepted")
        _check(token, await _key(binding, read.header.get("kid"), algorithm), binding.auth)
        until_s = self._judge_times(read.claims)
        identity = _identity(binding, read, until_s)
        self._remember(token, identity, until_s)
        return identity

    def _binding(self, read: Claims) -> _Binding:
        """Choose the agent the token claims to be; nothing is believed yet."""
        issuer = read.claims.get("iss")
        subject = read.actors[0] if read.actors else read.claims.get("sub")
        audience = read.claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not isinstance(issuer, str | None) or not isinstance(subject, str):
            raise refused("issuer or subject is missing")
        by_subject = self._bindings.get((issuer, subject), ())
        for found in (by_subject, self._of_trust_domain(read, subject), self._of_client(read, issuer)):
            fitting = [b for b in found if b.auth.audience in audiences]
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                break
        raise refused("no agent, or more than one, has this issuer, audience, and subject or client")

    def _of_trust_domain(self, read: Claims, subject: str) -> Sequence[_Binding]:
        """Return whom a JWT-SVID may prove: its subject names the trust domain, which alone vouches for it."""
        domain = "/".join(subject.split("/")[:3])
        return self._bindings.get((domain, subject), ()) if not read.actors else ()

    def _of_client(self, read: Claims, issuer: str | None) -> Sequence[_Binding]:
        """Return whom a user's token may prove that an OAuth client got (RFC 9068 §2.2: `client_id`; OpenID: `azp`)."""
        named = [read.claims[name] for name in ("client_id", "azp") if name in read.claims]
        if read.actors or not named or not all(isinstance(each, str) and each == named[0] for each in named):
            return ()
        return self._clients.get((issuer, named[0]), ())

    def _judge_times(self, claims: Mapping[str, Any]) -> int:
        """Return when the token expires, in seconds; raise when that has been, or its time has not come."""
        now = self._clock.now_ms() / 1000
        times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
        for name, value in times.items():
            if type(value) not in {int, float} or not 0 <= value <= _MAX_TIME:
                raise refused(f"{name} is not a time")
            if name != "exp" and value > now + self._skew_s:
                raise refused(f"{name} lies in the future")
        if now >= times["exp"] + self._skew_s:
            raise expired("the JWT has expired")
        return int(times["exp"])

    def _remember(self, token: str, identity: Identity, until_s: int) -> None:
        now = self._clock.now_ms()
        until = min(until_s * 1000, now + CACHE_MS)
        if until > now:
            self._verified[hashlib.sha256(token.encode()).digest()] = (until, identity)
            while len(self._verified) > CACHE_SIZE:
                self._verified.popitem(last=False)


async def _key(binding: _Binding, kid: object, algorithm: str) -> "PyJWK":
    if kid is not None and not isinstance(kid, str):
        raise refused("kid is not text")
    try:
        key = await binding.keys.key(kid, algorithm)
    except KeysUnavailable as error:
        raise StoreFault(
            "The gateway cannot check this kind of token right now. Try again.",
            detail=f"keys of {binding.auth.issuer}: {error}",
            retry_after_s=5.0,
        ) from None
    if key is None:
        raise refused("no key of the issuer fits")
    return key


def _check(token: str, key: "PyJWK", auth: JwtAuth) -> None:
    """Check the signature, issuer and audience. Times are judged apart, on the gateway's clock."""
    import jwt  # which was loaded with the issuer's keys

    try:
        jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=None if auth.trust_domain else auth.issuer,
            audience=auth.audience,
            options={
                "require": ["exp", "aud", "sub", *([] if auth.trust_domain else ["iss"])],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.exceptions.PyJWTError as error:
        raise refused(type(error).__name__) from None


def _user(auth: JwtAuth, read: Claims) -> str | None:
    """Return the user that a token's agent acts for; a client that got it for itself is its own subject."""
    subject = read.claims.get("sub")
    acts = bool(read.actors) or bool(auth.client and subject != auth.client)
    return subject_name(subject) if acts else None


def _identity(binding: _Binding, read: Claims, until_s: int) -> Identity:
    config = binding.config
    scope = read.claims.get("scope")
    return Identity(
        agent=binding.agent,
        method="jwt",
        credential_id=credential_id(read.claims),
        owner=config.owner,
        teams=tuple(config.teams),
        roles=tuple(config.roles),
        on_behalf_of=_user(binding.auth, read),
        delegation=read.actors,
        scopes=tuple(scope.split()) if isinstance(scope, str) else (),
        issuer=binding.auth.issuer,
        expires_at_ms=until_s * 1000,
    )
