"""Child identities: what agents have handed on, and whether it still holds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from gateway.identity.config import AgentConfig
from gateway.identity.picture import Picture
from gateway.identity.refusal import ended, withdrawn
from gateway.identity.token_index import TokenIndex
from gateway.model.clock import Clock
from gateway.model.identity import Child, Identity
from gateway.store.delegations import Delegation, DelegationChange, DelegationStore

__all__ = ["Children"]

_PAGE: Final = 2_000
_ROOM: Final = 4_000
_OVER: Final = 1_000
"""So many of those that are over are still told what ended them; older ones nobody knows."""


class Children(Picture):
    """A picture of the delegations. A child is what it is while its whole chain holds: every delegation above it, and
    the credential that the first of them was made with."""

    def __init__(
        self, store: DelegationStore, tokens: TokenIndex, clock: Clock, *, page: int = _PAGE, room: int = _ROOM
    ) -> None:
        super().__init__("delegations", clock)
        self._store = store
        self._tokens = tokens
        self._page = page
        self._made: dict[str, Delegation] = {}
        self._of: dict[str, dict[str, Delegation]] = {}
        self._to: dict[tuple[str, str], Delegation] = {}
        self._ended: set[str] = set()
        self._seen = 0
        self._least = self._room = room

    async def read(self) -> tuple[bool, bool]:
        changes = await self._store.delegation_changes(self._seen, self._page)
        for change in changes:
            self._take(change)
        if len(self._made) > self._room:
            self._forget()
        return bool(changes), len(changes) == self._page

    def _take(self, change: DelegationChange) -> None:
        self._seen = change.seq
        if isinstance(change.what, Delegation):
            self._hold(change.what)
        else:
            self._ended.add(change.what.id)

    def _hold(self, made: Delegation) -> None:
        self._made[made.id] = self._of.setdefault(made.agent, {})[made.id] = made
        if made.to and not made.digest:
            self._to[made.to, made.run_id] = made

    def _forget(self) -> None:
        """Forget the oldest that are over: what is held is bounded by what lives, however much was made before."""
        now, held = self._clock.now_ms(), self._made
        over = [each.id for each in held.values() if each.id in self._ended or each.expires_ms <= now]
        gone = set(over[: -min(_OVER, self._least)])
        self._made, self._of, self._to = {}, {}, {}
        for each in held.values():
            if each.id not in gone:
                self._hold(each)
        self._ended &= self._made.keys()
        self._room = max(2 * len(self._made), self._least)

    async def learn(self, token_id: str) -> None:
        """Look again if there is no such child. Raises `StoreFault`."""
        if token_id not in self._made:
            await self.look_again()

    def find(self, token_id: str) -> Delegation | None:
        """Return a delegation, one that is over too."""
        return self._made.get(token_id)

    def handed_to(self, agent: str, run_id: str) -> Delegation | None:
        """Return what was last handed on to a registered agent in a run, also where that is over."""
        return self._to.get((agent, run_id))

    def unexpired(self) -> Sequence[Delegation]:
        """Return the delegations whose time is not over, whether or not something else ended them, oldest first."""
        now = self._clock.now_ms()
        return [each for each in self._made.values() if now < each.expires_ms]

    def living(self, agent: str) -> Sequence[Delegation]:
        """Return the agent's delegations that have not ended, of themselves or with one above them, oldest first."""
        now = self._clock.now_ms()
        mine = [each for each in self._of.get(agent, {}).values() if now < each.expires_ms]
        return [each for each in mine if self._ended.isdisjoint(one.id for one in self._chain(each))]

    def is_under(self, below: Delegation, above: str) -> bool:
        """Tell whether a delegation was made, directly or not, by the child `above`."""
        return above in {each.id for each in self._chain(below)} - {below.id}

    def can_prove(self, agent: str, configured: AgentConfig) -> bool:
        """Tell whether a registered agent has a way to prove itself just now. Raises `StoreFault`."""
        ways = configured.auth
        return ways.local or ways.jwt is not None or (ways.accepts_token and self._tokens.has_live(agent))

    def first(self, made: Delegation) -> Delegation:
        """Return the delegation that the chain of this one begins with, as far as it is known."""
        return list(self._chain(made))[-1]

    def actors(self, made: Delegation) -> frozenset[str]:
        """Return the registered agents that this delegation's work has gone through, the one that acts among them."""
        return frozenset({made.agent, *(each.acting for each in self._chain(made))})

    def identity(self, made: Delegation, agents: Mapping[str, AgentConfig], own: Identity | None = None) -> Identity:
        """Return the child as it is now, until its `expires_at_ms` if nothing is withdrawn before.

        `agents` are those that are registered. `own` is the registered agent that acts, as it proved itself, where the
        delegation is to one.

        Raises:
            IdentityFault: its chain does not hold.
            StoreFault: that cannot be told.
        """
        self.believe()
        chain = list(self._chain(made))
        if chain[-1].parent:
            raise withdrawn(f"{made.name} ({made.id}): {chain[-1].parent}, which it stands under, is not known")
        until = min(self._until(made, each, agents) for each in chain)
        above = tuple(self._maker(each, agents) for each in chain if each.acting != self._making(each))
        known = own or replace(self._maker(made, agents), method="child", credential_id=made.id)
        if known.expires_at_ms is not None:
            until = min(until, known.expires_at_ms)
        itself_for = None if own is None else own.on_behalf_of
        user, child = made.on_behalf_of or None, replace(_child(made), above=above, itself_for=itself_for)
        return replace(known, on_behalf_of=user, delegation=_names(made), expires_at_ms=until, child=child)

    def _chain(self, made: Delegation) -> Iterator[Delegation]:
        """Yield a delegation and those above it, as far as they are known."""
        each: Delegation | None = made
        for _ in range(made.depth):
            if each is None:
                return
            yield each
            each = self._made.get(each.parent)

    def _making(self, made: Delegation) -> str:
        """Return the registered agent that made a delegation."""
        above = self._made.get(made.parent)
        return made.agent if above is None else above.acting

    def _maker(self, made: Delegation, agents: Mapping[str, AgentConfig]) -> Identity:
        """Return who made a delegation, as it was proved then and is registered now."""
        above, name = self._made.get(made.parent), self._making(made)
        agent = agents[name]
        return Identity(
            agent=name,
            method=made.method,
            credential_id=made.root,
            owner=agent.owner,
            teams=tuple(agent.teams),
            roles=tuple(agent.roles),
            on_behalf_of=made.on_behalf_of or None,
            scopes=made.claims,
            issuer=made.issuer,
            delegation=() if above is None else _names(above),
            child=None if above is None else _child(above),
        )

    def _until(self, made: Delegation, each: Delegation, agents: Mapping[str, AgentConfig]) -> int:
        """Return until when (Unix ms) one of the chain of `made` holds."""
        whose = f"{made.name} ({made.id}): {each.name} ({each.id})"
        for name in (each.acting, self._making(each)):
            if name not in agents:
                raise withdrawn(f"{whose}: agent {name!r} is not configured any more")
        if each.id in self._ended:
            raise withdrawn(f"{whose} was withdrawn")
        if self._clock.now_ms() >= each.expires_ms:
            raise ended(f"{whose} has expired")
        return min(each.expires_ms, self._root_until(each, agents[self._making(each)]))

    def _root_until(self, made: Delegation, agent: AgentConfig) -> int:
        """Return until when (Unix ms) the credential holds that a delegation was made with."""
        whose = f"{made.name} ({made.id}): the credential {made.root} of {self._making(made)}"
        if made.method == "token":
            return self._token_until(made, agent, whose)
        jwt = agent.auth.jwt
        holds = agent.auth.local if made.method == "local" else jwt is not None and jwt.issuer == made.issuer
        if not holds:
            raise withdrawn(f"{whose} is not accepted any more")
        return made.expires_ms

    def _token_until(self, made: Delegation, agent: AgentConfig, whose: str) -> int:
        token = self._tokens.find(made.root)
        now = self._clock.now_ms()
        if token is None or token.agent != self._making(made) or not agent.auth.accepts_token:
            raise withdrawn(f"{whose} is not accepted any more")
        if token.revoked_ms is not None and now >= token.revoked_ms:
            raise withdrawn(f"{whose} was revoked")
        if now >= token.expires_ms:
            raise ended(f"{whose} has expired")
        return token.expires_ms if token.revoked_ms is None else min(token.expires_ms, token.revoked_ms)


def _child(made: Delegation) -> Child:
    return Child(made.id, made.name, made.run_id, made.scopes, made.depth)


def _names(made: Delegation) -> tuple[str, ...]:
    """Return the chain of who acts, from the child up to whoever acted for a user."""
    names = made.name.split(":")
    return (*(":".join(names[:count]) for count in range(len(names), 1, -1)), *made.actors)
