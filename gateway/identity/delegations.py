"""Handing on what an agent may do, and taking it back."""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from gateway.identity.children import Children
from gateway.identity.config import AgentConfig, DelegationSection
from gateway.identity.tokens import fresh_token
from gateway.model.clock import Clock, IdSource
from gateway.model.duration import milliseconds
from gateway.model.errors import RequestFault, StoreFault
from gateway.model.identity import Identity
from gateway.store.delegations import Delegation, DelegationEnd, DelegationStore

__all__ = ["Bounds", "Delegations", "Handed", "Wanted", "is_scope"]

_SCOPE: Final = re.compile(r"[^\s?\[\]\"\\`]{1,256}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be handed on: `scopes` by canonical name or pattern, for `ttl_ms`, in a run; `to` a registered agent.

    An empty `to` makes a child of that `name`; else it is the agent's.
    """

    name: str
    scopes: tuple[str, ...]
    ttl_ms: int
    run_id: str
    to: str = ""


@dataclass(frozen=True, slots=True)
class Handed:
    """A new child. `token` is for it alone, and is stored nowhere; a registered agent has its own, and gets none."""

    token: str = field(repr=False)
    made: Delegation


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the configuration says of delegation, and the registered agents."""

    section: DelegationSection
    agents: Mapping[str, AgentConfig]


def is_scope(text: str) -> bool:
    """Tell whether a text can be a scope: a name, in which `*` may stand for any text."""
    return _SCOPE.fullmatch(text) is not None


class Delegations:
    """Makes children, within what `bounds` are at that moment, and takes from them what they were given."""

    def __init__(
        self,
        store: DelegationStore,
        children: Children,
        bounds: Callable[[], Bounds],
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._store = store
        self._children = children
        self._bounds = bounds
        self._clock = clock
        self._ids = ids
        self._one_at_a_time = asyncio.Lock()

    async def hand_on(self, parent: Identity, wanted: Wanted) -> Handed:
        """Make a child of a caller: it may do no more than the caller, and lives no longer.

        Raises:
            RequestFault: `delegation_refused`, it would be wider or deeper than is allowed, or one too many; or there
                is no such agent, or it can prove itself no more, or it has a part in this work already.
            StoreFault: it cannot be put on record.
        """
        async with self._one_at_a_time:  # or two at once would both find room for the last one
            self._check(parent, wanted)
            token_id, digest, token = fresh_token(self._ids)
            if wanted.to:
                digest, token = "", ""
            made = self._delegation(parent, wanted, (token_id, digest))
            await self._store.put_delegation(made)
            with suppress(StoreFault):  # it is made; whoever asks for it looks again
                await self._children.refresh()
        return Handed(token, made)

    async def take_back(self, caller: Identity, child_id: str, reason: str) -> Delegation:
        """End a child that the caller made, or one below it; all under it end with it.

        Raises:
            RequestFault: the caller has no such child.
            StoreFault: it cannot be put on record.
        """
        made = self._children.find(child_id)
        if made is None or not self._is_above(caller, made):
            raise RequestFault("You have no such child.", detail=f"{child_id[:80]!r}")
        by = caller.agent if caller.child is None else caller.child.name
        end = DelegationEnd(made.id, made.agent, made.run_id, self._clock.now_ms(), by, reason)
        await self._store.end_delegation(end)
        await self._children.refresh()
        return made

    def _is_above(self, caller: Identity, made: Delegation) -> bool:
        if caller.child is not None:
            return self._children.is_under(made, caller.child.id)
        first = self._children.first(made)
        theirs = first.agent, first.issuer, first.on_behalf_of
        return not first.parent and theirs == (caller.agent, caller.issuer, caller.on_behalf_of or "")

    def _check_name(self, parent: Identity, wanted: Wanted) -> None:
        agents, above = self._bounds().agents, None if parent.child is None else self._children.find(parent.child.id)
        if not wanted.to:
            if wanted.name in agents:
                raise _refused(
                    f"{wanted.name} is a registered agent: hand on to it as `agent`, or choose another name."
                )
            return
        agent = agents.get(wanted.to)
        if agent is None:
            raise _refused(f"There is no agent {wanted.to[:80]!a} here.")
        if wanted.to in ({parent.agent} if above is None else self._children.actors(above)):
            raise _refused(f"This work went through {wanted.to} already: it cannot come back to it.")
        if not self._children.can_prove(wanted.to, agent):
            raise _refused(f"{wanted.to} has no credential that is accepted: its tokens were revoked or have expired.")

    def _check(self, parent: Identity, wanted: Wanted) -> None:
        self._check_name(parent, wanted)
        section, depth = self._bounds().section, 1 if parent.child is None else parent.child.depth + 1
        if depth > section.depth:
            raise _refused(f"Here {section.depth} may stand below an agent; you are {depth - 1} below yours.")
        for scope in wanted.scopes:
            if not is_scope(scope):
                raise _refused(f"{scope[:80]!a} is no tool, and no pattern in which * stands for any text.")
            held = ("*",) if parent.child is None else parent.child.scopes
            if not any(fnmatchcase(scope, each) for each in held):  # a * of the scope is matched by one of these alone
                raise _refused(f"You were given {', '.join(held)} yourself, and {scope} is more than that.")
        whose = parent.agent if parent.child is None else parent.child.name.partition(":")[0]
        if len(self._children.living(whose)) >= section.most:
            raise _refused(f"{whose} has {section.most} children already: end some (run_revoke).")

    def _delegation(self, parent: Identity, wanted: Wanted, token: tuple[str, str]) -> Delegation:
        now, child = self._clock.now_ms(), parent.child
        above = None if child is None else self._children.find(child.id)
        latest = now + min(max(wanted.ttl_ms, 1), milliseconds(self._bounds().section.longest))
        handed = above if parent.method == "child" else None  # else it proved itself, and that is what it stands on
        agent = parent.agent if above is None else above.agent
        return Delegation(
            id=token[0],
            digest=token[1],
            agent=agent,
            name=f"{agent if child is None else child.name}:{wanted.to or wanted.name}",
            parent="" if child is None else child.id,
            method=parent.method if handed is None else handed.method,
            root=parent.credential_id if handed is None else handed.root,
            issuer=parent.issuer,
            on_behalf_of=parent.on_behalf_of or "",
            run_id=wanted.run_id,
            scopes=wanted.scopes,
            claims=parent.scopes,
            actors=(parent.delegation or (parent.agent,)) if above is None else above.actors,
            depth=1 if child is None else child.depth + 1,
            created_ms=now,
            expires_ms=latest if parent.expires_at_ms is None else min(latest, parent.expires_at_ms),
            to=wanted.to or ("" if parent.agent == agent else parent.agent),
        )


def _refused(why: str) -> RequestFault:
    return RequestFault(why, code="delegation_refused")
