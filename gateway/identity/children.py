"""Child identities: what agents have handed on, and whether it still holds."""

from collections.abc import Iterator, Sequence
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

    def _forget(self) -> None:
        """Forget the oldest that are over: what is held is bounded by what lives, however much was made before."""
        now, held = self._clock.now_ms(), self._made
        over = [each.id for each in held.values() if each.id in self._ended or each.expires_ms <= now]
        gone = set(over[: -min(_OVER, self._least)])
        self._made, self._of = {}, {}
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

    def identity(self, made: Delegation, agent: AgentConfig) -> Identity:
        """Return the child as it is now, until its `expires_at_ms` if nothing is withdrawn before.

        Raises:
            IdentityFault: its chain does not hold.
            StoreFault: that cannot be told.
        """
        self.believe()
        chain = list(self._chain(made))
        if chain[-1].parent:
            raise withdrawn(f"{made.name} ({made.id}): {chain[-1].parent}, which it stands under, is not known")
        for each in chain:
            self._check(made, each)
        until = min(*(each.expires_ms for each in chain), self._root_until(made, agent))
        names = made.name.split(":")
        above = [":".join(names[:count]) for count in range(len(names), 1, -1)]
        return Identity(
            agent=made.agent,
            method="child",
            credential_id=made.id,
            owner=agent.owner,
            teams=tuple(agent.teams),
            roles=tuple(agent.roles),
            on_behalf_of=made.on_behalf_of or None,
            delegation=(*above, *made.actors),
            scopes=made.claims,
            issuer=made.issuer,
            expires_at_ms=until,
            child=Child(made.id, made.name, made.run_id, made.scopes, made.depth),
        )

    def _chain(self, made: Delegation) -> Iterator[Delegation]:
        """Yield a delegation and those above it, as far as they are known."""
        each: Delegation | None = made
        for _ in range(made.depth):
            if each is None:
                return
            yield each
            each = self._made.get(each.parent)

    def _check(self, made: Delegation, each: Delegation) -> None:
        whose = f"{made.name} ({made.id}): {each.name} ({each.id})"
        if each.id in self._ended:
            raise withdrawn(f"{whose} was withdrawn")
        if self._clock.now_ms() >= each.expires_ms:
            raise ended(f"{whose} has expired")

    def _root_until(self, made: Delegation, agent: AgentConfig) -> int:
        """Return until when (Unix ms) the credential holds that the chain begins with."""
        whose = f"{made.name} ({made.id}): the credential {made.root} of {made.agent}"
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
        if token is None or token.agent != made.agent or not agent.auth.accepts_token:
            raise withdrawn(f"{whose} is not accepted any more")
        if token.revoked_ms is not None and now >= token.revoked_ms:
            raise withdrawn(f"{whose} was revoked")
        if now >= token.expires_ms:
            raise ended(f"{whose} has expired")
        return token.expires_ms if token.revoked_ms is None else min(token.expires_ms, token.revoked_ms)
