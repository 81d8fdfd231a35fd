"""Passports put together: who is at work in a run, what it may use, what is left, and where the ledger stands."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from gateway.budget.standing import Standing, standings
from gateway.ledger.passports import Bearer, head_of, passport, steps_of
from gateway.ledger.signing import SigningKey
from gateway.model.call import Call
from gateway.model.clock import Clock, IdSource
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.model.limit import amount_text
from gateway.pipeline.rules import RulesInForce
from gateway.policy import visible
from gateway.store.ports import Store
from gateway.workflow.own_tools import DEFAULT_PASSPORT_S, OWN_SERVER

__all__ = ["Issuer", "Office", "Wanted"]

_TOOLS: Final = 100
OwnTool = Callable[[Call], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: a key, under a name (`iss`); calls of the servers in `apart` are no steps of a run's work.

    Agents are named by SPIFFE ids of `trust_domain`, where there is one.
    """

    key: SigningKey
    name: str
    apart: frozenset[str]
    trust_domain: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A passport as asked for; an empty audience is everybody."""

    identity: Identity
    run: RunRef
    ttl_s: int = DEFAULT_PASSPORT_S
    audience: str = ""


class Office:
    """Issues passports. What one states is as of the moment; it is not taken back, so its time is short."""

    def __init__(self, store: Store, issuer: Issuer, rules: RulesInForce, clock: Clock, ids: IdSource) -> None:
        self._store = store
        self._issuer = issuer
        self._rules = rules
        self._clock = clock
        self._ids = ids

    @property
    def own_tools(self) -> Mapping[str, OwnTool]:
        """What carries the tool out, by its name."""
        return {f"{OWN_SERVER}.passport": self.answer}

    async def answer(self, call: Call) -> Mapping[str, Any]:
        """Answer `run.passport`. Raises `StoreFault`."""
        asked = call.arguments
        ttl_s, audience = asked.get("ttl_s", DEFAULT_PASSPORT_S), asked.get("audience", "")
        issued, token = await self.issue(Wanted(call.identity, call.facts.run, ttl_s, audience))
        told = {"passport": token, "id": issued["jti"], "run": call.facts.run.id, "expires": issued["exp"]}
        return {"content": [{"type": "text", "text": token}], "structuredContent": told}

    async def issue(self, wanted: Wanted) -> tuple[Mapping[str, Any], str]:
        """Return the registered claims of a new passport, and the passport. Raises `StoreFault`."""
        identity, run = wanted.identity, wanted.run
        now_ms = self._clock.now_ms()
        until_ms = now_ms + wanted.ttl_s * 1000
        if identity.expires_at_ms is not None:
            until_ms = min(until_ms, identity.expires_at_ms)
        issued = {"iss": self._issuer.name, "jti": self._ids.new("pass")}
        issued |= {"aud": wanted.audience} if wanted.audience else {}
        times = {"iat": now_ms // 1000, "exp": until_ms // 1000}
        left, domain = await self._left(identity, run, now_ms), self._issuer.trust_domain
        bearer = Bearer(identity, run, self._scopes(identity), left, domain)
        steps = await self._store.count_steps(run.id), await steps_of(self._store, run.id, self._issuer.apart)
        head = await head_of(self._store)  # last: whatever is stated of the run is in the ledger by then
        claims = {**issued, **times}
        return claims, passport(self._issuer.key, bearer, claims, head, steps)

    def _scopes(self, identity: Identity) -> list[str]:
        """Return what a child was given; of an agent, the tools that some policy lets it use in some context."""
        if identity.child is not None:
            return list(identity.child.scopes)
        rules = self._rules.current
        usable = (
            tool.name
            for tool in rules.catalog.tools()
            if not (tool.quarantined or tool.server in self._issuer.apart) and visible(rules.bundle, identity, tool)
        )
        return list(islice(usable, _TOOLS))

    async def _left(self, identity: Identity, run: RunRef, now_ms: int) -> list[Mapping[str, Any]]:
        """Return what is left of the budgets of all, of the agent, of its teams and of the run."""
        budgets = self._rules.current.budgets
        of = {"org", f"agent:{identity.agent}", f"run:{run.id}", *(f"team:{team}" for team in identity.teams)}
        counters = await self._store.budget_counters()
        return [_told(each) for each in standings(budgets, counters, now_ms) if each.scope in of]


def _told(each: Standing) -> Mapping[str, Any]:
    limit = each.limit
    most, left = amount_text(limit.most), amount_text(max(each.left, 0))
    return {"of": each.scope, "unit": limit.unit, "per": limit.window.name, "limit": most, "left": left}
