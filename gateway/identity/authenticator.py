"""Turns a credential into a verified agent, or refuses."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.identity.children import Children
from gateway.identity.config import AgentConfig
from gateway.identity.jwt_verifier import JwtVerifier
from gateway.identity.key_source import KeyRing
from gateway.identity.local import LOCAL_PREFIX, local_bearer, split_local
from gateway.identity.refusal import expired, refused, revoked
from gateway.identity.token_index import TokenIndex
from gateway.identity.tokens import API_PREFIX, matches, split_token
from gateway.model.clock import Clock
from gateway.model.errors import IdentityFault, RequestFault
from gateway.model.identity import Credential, Identity
from gateway.store.delegations import Delegation
from gateway.store.ports import TokenRecord

__all__ = ["MAX_CREDENTIAL", "Authenticator", "Trust"]

MAX_CREDENTIAL: Final = 8192
_MAX_VERIFIED: Final = 1024
_NOBODY: Final = TokenRecord(id="", agent="", digest="0" * 64, created_ms=0, expires_ms=0)


@dataclass(frozen=True, slots=True)
class Trust:
    """What credentials are checked against. `local_key` None: no stdio bridge is served; `children` None: no child."""

    tokens: TokenIndex
    keys: KeyRing
    local_key: bytes | None = field(default=None, repr=False)
    clock_skew_s: int = 30
    children: Children | None = None

    def generation(self) -> int:
        """A number that changes with what is known of tokens."""
        children = self.children
        return self.tokens.generation if children is None else self.tokens.generation + children.generation

    def believe(self, identity: Identity) -> None:
        """Raise `StoreFault` when what is known is too old for this caller to be believed."""
        self.tokens.believe()
        if identity.child is not None and self.children is not None:
            self.children.believe()


@dataclass(frozen=True, slots=True)
class _Roster:
    """The agents of one configuration, and what is derived from them.

    `seen` holds one identity a token. `verified` holds, by token, what a verification found: the identity, until when
    it holds (Unix ms), and the generation of the tokens it was found in.
    """

    agents: Mapping[str, AgentConfig]
    local: Mapping[str, str] = field(repr=False)
    jwts: JwtVerifier
    seen: dict[str, Identity] = field(default_factory=dict)
    verified: dict[str, tuple[Identity, int, int]] = field(default_factory=dict, repr=False)


class Authenticator:
    """Identifies callers. Safe to reload: `replace` swaps the agents by one assignment."""

    def __init__(self, agents: Mapping[str, AgentConfig], trust: Trust, clock: Clock) -> None:
        self._trust = trust
        self._clock = clock
        self._roster = self._enrol(agents)

    def replace(self, agents: Mapping[str, AgentConfig]) -> None:
        """Serve these agents from now on; one that is gone is refused with its next call."""
        self._roster = self._enrol(agents)

    def identify_cached(self, credential: Credential, *, loopback: bool) -> Identity | None:
        """Return the caller where that takes no waiting; None means: await `identify`.

        Raises:
            IdentityFault: nobody, as far as can be told now.
            StoreFault: tokens cannot be checked right now.
        """
        value = credential.value
        if credential.kind != "bearer" or not value:
            raise refused("no credential")
        if len(value) > MAX_CREDENTIAL or not value.isascii():
            raise refused("oversized, or not ASCII")
        if value.startswith(API_PREFIX):
            return self._by_token(value)
        if value.startswith(LOCAL_PREFIX):
            return self._by_local_key(value, loopback=loopback)
        return self._roster.jwts.cached(value)

    def verified(self, credential: Credential) -> Identity | None:
        """Return whom a token was found to be before, where it still is that; None means: await `identify`.

        Raises:
            StoreFault: tokens cannot be checked right now.
        """
        found = self._roster.verified.get(credential.value) if credential.kind == "bearer" else None
        trust = self._trust
        if found is None or found[2] != trust.generation() or self._clock.now_ms() >= found[1]:
            return None
        identity = found[0]
        trust.tokens.believe()
        if identity.child is not None:
            trust.believe(identity)
        return identity

    async def identify(self, credential: Credential, *, loopback: bool) -> Identity:
        """Return the verified agent behind `credential`. `loopback`: the peer is on this machine.

        Raises:
            IdentityFault: unauthenticated, identity_expired or identity_revoked.
            StoreFault: it cannot be checked right now.
        """
        verified = self.verified(credential)
        if verified is not None:
            return verified
        named = split_token(credential.value) if len(credential.value) <= MAX_CREDENTIAL else None
        if named is not None:
            await self._learn(named[0])
        known = self.identify_cached(credential, loopback=loopback)
        while known is None:
            roster = self._roster
            identity = await roster.jwts.verify(credential.value)
            if roster is self._roster:  # else the agents changed meanwhile: ask those in force
                known = identity
        return known

    def in_run(self, identity: Identity, run: str | None) -> Identity:
        """Return who a caller is in the run that it names: whoever work was handed on to does there only that work.

        Raises:
            RequestFault: `delegation_refused`, that has ended.
            StoreFault: it cannot be told.
        """
        children = self._trust.children
        made = None if children is None or run is None else children.handed_to(identity.agent, run)
        if children is None or made is None or identity.child is not None:
            return identity
        if identity.on_behalf_of not in {None, made.on_behalf_of or None}:
            return identity  # it works for somebody else
        try:
            return children.identity(made, self._roster.agents, identity)
        except IdentityFault as fault:
            raise RequestFault(fault.message, code="delegation_refused", detail=fault.detail) from fault

    def stored(self, recorded: Identity) -> Identity:
        """Return the agent of a recorded call as it is configured today, acting for whom it acted then.

        Its credentials may have been revoked since: to undo what it did, or to end the doubt about it, needs none.

        Raises:
            IdentityFault: there is no such agent any more.
        """
        agent = self._roster.agents.get(recorded.agent)
        if agent is None:
            raise revoked(f"agent {recorded.agent!r} is not configured any more")
        today = _identity(recorded.agent, agent, recorded.method, recorded.credential_id, None)
        user, chain, child = recorded.on_behalf_of, recorded.delegation, recorded.child
        return replace(today, on_behalf_of=user, delegation=chain, child=child)

    def in_force(self, recorded: Identity) -> Identity:
        """Return the agent of a recorded call as it is today, if the credential it came with still holds.

        Raises:
            IdentityFault: it does not, or that cannot be told without the credential itself, as of a JWT.
            RequestFault: `delegation_refused`, the call was handed on to it, and that has ended.
            StoreFault: it cannot be checked right now.
        """
        today = self._credited(recorded)
        if recorded.child is None or not recorded.is_handed:
            return today
        return self.handed(replace(today, child=None), recorded.child.run)

    def handed(self, identity: Identity, run: str) -> Identity:
        """Return who a caller is in a run in which work was handed on to it. Raises as `in_run`, where it was not."""
        known = self.in_run(identity, run)
        if known.child is None:
            raise RequestFault("Nothing is handed on to you in that run.", code="delegation_refused", detail=run)
        return known

    def _credited(self, recorded: Identity) -> Identity:
        agent = self._roster.agents.get(recorded.agent)
        if agent is not None and recorded.method == "local" and recorded.agent in self._roster.local:
            return self.stored(recorded)
        if agent is not None and recorded.method == "token":
            self._trust.tokens.believe()
            self._until(self._trust.tokens.find(recorded.credential_id) or _NOBODY)
            return self.stored(recorded)
        children = self._trust.children
        made = children.find(recorded.credential_id) if children is not None else None
        if agent is not None and children is not None and made is not None and recorded.method == "child":
            return children.identity(made, self._roster.agents)
        raise expired(f"{recorded.method} {recorded.credential_id} of {recorded.agent!r} has to be presented anew")

    async def _learn(self, token_id: str) -> None:
        """See to it that a token is known if it was made, and by another process."""
        tokens, children = self._trust.tokens, self._trust.children
        if children is None or not (token_id in tokens or children.find(token_id) is not None):
            await tokens.learn(token_id)
            if children is not None:
                await children.learn(token_id)

    def _enrol(self, agents: Mapping[str, AgentConfig]) -> _Roster:
        key = self._trust.local_key
        local = {name: local_bearer(key, name) for name, agent in agents.items() if key and agent.auth.local}
        jwts = JwtVerifier(agents, self._trust.keys, self._clock, skew_s=self._trust.clock_skew_s)
        return _Roster(dict(agents), local, jwts)

    def _by_token(self, value: str) -> Identity:
        parts = split_token(value)
        if parts is None:
            raise refused("not a token")
        children = self._trust.children
        made = None if children is None else children.find(parts[0])
        if children is not None and made is not None:
            return self._as_child(children, made, value, parts[1])
        record = self._trust.tokens.find(parts[0]) or _NOBODY
        if not matches(parts[1], record.digest):
            raise refused("no such token")
        agent, until = self._until(record)
        known = self._roster.seen.get(record.id)
        if known is None:
            known = self._roster.seen[record.id] = _identity(record.agent, agent, "token", record.id, record.expires_ms)
        return self._verified(value, known, until)

    def _until(self, record: TokenRecord) -> tuple[AgentConfig, int]:
        """Return whose a token is, and until when. Raises `IdentityFault`: it is nobody's, or not any more."""
        agent = self._roster.agents.get(record.agent)
        if agent is None or not agent.auth.accepts_token:
            raise refused(f"token {record.id}: agent {record.agent!r} is not configured for tokens")
        now = self._clock.now_ms()
        if record.revoked_ms is not None and now >= record.revoked_ms:
            raise revoked(f"token {record.id}")
        if now >= record.expires_ms:
            raise expired(f"token {record.id}")
        return agent, min(record.expires_ms, record.revoked_ms if record.revoked_ms is not None else record.expires_ms)

    def _as_child(self, children: Children, made: Delegation, value: str, secret: str) -> Identity:
        if not matches(secret, made.digest):
            raise refused("no such token")
        known = children.identity(made, self._roster.agents)
        return self._verified(value, known, known.expires_at_ms or 0)

    def _verified(self, value: str, known: Identity, until_ms: int) -> Identity:
        """Remember what a token was found to be."""
        if len(self._roster.verified) >= _MAX_VERIFIED:
            self._roster.verified.clear()
        self._roster.verified[value] = known, until_ms, self._trust.generation()
        return known

    def _by_local_key(self, value: str, *, loopback: bool) -> Identity:
        parts = split_local(value)
        if parts is None:
            raise refused("not a local credential")
        name = parts[0]
        expected = self._roster.local.get(name, "")
        if not hmac.compare_digest(value, expected):
            raise refused("a local credential that does not fit")
        if not loopback:
            raise refused(f"the local credential of {name!r} from another machine")
        return _identity(name, self._roster.agents[name], "local", f"local:{name}", None)


def _identity(name: str, agent: AgentConfig, method: str, credential_id: str, expires_at_ms: int | None) -> Identity:
    return Identity(
        agent=name,
        method=method,
        credential_id=credential_id,
        owner=agent.owner,
        teams=tuple(agent.teams),
        roles=tuple(agent.roles),
        expires_at_ms=expires_at_ms,
    )
