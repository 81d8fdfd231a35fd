"""Simulation: every recorded call put before other policies, with its past as it was then (LEDGER.md §9).

What is simulated is one decision at a time: arguments, identity, approval, budget and earlier steps are those on
record. What would have followed, had an earlier call been decided otherwise, is not guessed; only a step that these
policies let be used once is used up by the first call that was made and that they allow.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from gateway.ledger.entries import facts_from, given_in, identity_from
from gateway.model.call import Call
from gateway.model.contract import Contract
from gateway.model.decision import Decision, Ruling
from gateway.model.errors import PolicyFault
from gateway.model.facts import Facts, PriorQuery, Step
from gateway.model.identity import Credential
from gateway.model.operation import operation_named
from gateway.model.request import Caller, CallRequest
from gateway.model.tool import Tool, anything
from gateway.pipeline.history import History
from gateway.pipeline.replay import DECIDED, RecordedBundles
from gateway.pipeline.stages.gather import lookup_for
from gateway.policy import Bundle, decide, decision_input
from gateway.store.bodies import load
from gateway.store.ports import Event, EventFilter, EventKind, Ledger

__all__ = ["Change", "Fate", "Simulated", "Simulation"]

_EVERYTHING: Final = 2**63 - 1
_REMOVED: Final = "removed by retention"
_UNPINNED: Final = "no tool of that name is pinned"


class Fate(StrEnum):
    """What a decision comes to for the caller."""

    ALLOWED = "allowed"
    WAITING = "waiting"  # for a person's approval
    DENIED = "denied"


class Change(StrEnum):
    """How another decision differs from the recorded one."""

    SAME = "same"
    NEWLY_ALLOWED = "newly_allowed"
    NEWLY_WAITING = "newly_waiting"
    NEWLY_DENIED = "newly_denied"


@dataclass(frozen=True, slots=True)
class Simulated:
    """One recorded call under the other policies. `was` are the policies that decided it on record."""

    event: Event
    change: Change
    before: Fate
    was: tuple[str, ...]
    after: Fate
    decision: Decision = field(repr=False)


class Simulation:
    """Decides recorded calls by `bundle`. `skipped` counts, by reason, those that cannot be decided by it."""

    def __init__(self, ledger: Ledger, bundle: Bundle) -> None:
        self._ledger = ledger
        self._bundle = bundle
        self._recorded = RecordedBundles(ledger)
        self._history = History(bundle.prior_sources)
        self._found: dict[str, Mapping[str, Step]] = {}  # by claimed call: the steps that only these policies ask for
        self.skipped: Counter[str] = Counter()

    async def run(self, wanted: EventFilter) -> AsyncIterator[Simulated]:
        """Yield every decided call that `wanted` names, in order; what lies before it counts as its past.

        Raises:
            StoreFault: the ledger cannot be read.
        """
        async for event in self._ledger.events(EventFilter(until_ms=wanted.until_ms, limit=_EVERYTHING)):
            counts = self._is_wanted(event, wanted)
            used: tuple[str, ...] = ()
            if event.kind in DECIDED and (counts or self._bundle.priors_for(event.tool)):
                simulated, used = await self._decide(event, counts=counts)
                if simulated is not None and counts:
                    yield simulated
            self._history.take(event)
            self._history.use(event.call_id, used)

    @staticmethod
    def _is_wanted(event: Event, wanted: EventFilter) -> bool:
        prefix = wanted.tool.removesuffix("*")
        named = event.tool.startswith(prefix) if wanted.tool.endswith("*") else wanted.tool in {"", event.tool}
        about = wanted.run_id in {"", event.run_id} and wanted.agent in {"", event.agent}
        return named and about and wanted.call_id in {"", event.call_id} and event.at_ms >= wanted.since_ms

    async def _decide(self, event: Event, *, counts: bool) -> tuple[Simulated | None, tuple[str, ...]]:
        """Return what becomes of a call, and the ids of the steps that it uses up by these policies."""
        body = load(event.body.encode())
        if given_in(body) is None:
            if counts and "removed" in body:
                self.skipped[_REMOVED] += 1
            return None, ()
        tool = operation_named(event.tool) or _as_spoken(self._bundle.tools.get(event.tool), body)
        if tool is None:
            self.skipped[_UNPINNED] += counts
            return None, ()
        call = _call_from(event, body)
        facts = await self._facts(call, tool, body)
        decision = self._through(body, call, facts) or decide(
            self._bundle, decision_input(self._bundle, call.identity, tool, call.arguments, facts)
        )
        claimed = event.kind is EventKind.CALL_CLAIMED
        used = tuple(facts.priors[query.name].call_id for query in decision.consumes) if claimed else ()
        return _compared(event, body["decision"], decision), used

    async def _facts(self, call: Call, tool: Tool, body: Mapping[str, Any]) -> Facts:
        """Return the recorded facts, with the earlier steps that these policies ask for in the place of the others."""
        facts = facts_from(body)
        asked = await self._asked_then(body["decision"]["bundle"], tool)
        priors = {}
        for query in self._bundle.priors_for(tool.name):
            step = facts.priors.get(query.name) if query in asked else self._step(query, call, facts)
            if step is not None:
                priors[query.name] = step
        self._found[call.id] = priors
        return replace(facts, priors=priors)

    def _step(self, query: PriorQuery, call: Call, facts: Facts) -> Step | None:
        if facts.repeat_of in self._found:  # it was decided on what the original was decided on
            return self._found[facts.repeat_of].get(query.name)
        lookup = lookup_for(query, call, facts.run, facts.now_ms)
        return None if lookup is None else self._history.find(lookup, facts.now_ms)

    async def _asked_then(self, digest: str, tool: Tool) -> tuple[PriorQuery, ...]:
        try:
            return (await self._recorded.get(digest)).priors_for(tool.name)
        except PolicyFault:
            return ()

    def _through(self, body: Mapping[str, Any], call: Call, facts: Facts) -> Decision | None:
        """Return the refusal of the gateway's own tool that the call came through, if it is refused."""
        via = self._bundle.tools.get(body.get("via", ""))
        if via is None:
            return None
        arguments = {"name": call.request.name, "arguments": call.arguments}
        plain = replace(facts, priors={}, approval=None, grant=None)
        decision = decide(self._bundle, decision_input(self._bundle, call.identity, via, arguments, plain))
        return None if decision.allowed else decision


def _as_spoken(tool: Tool | None, body: Mapping[str, Any]) -> Tool | None:
    """Return a tool in the version in which the agent of a recorded call was spoken with."""
    version = body["tool"].get("spoken")
    if tool is None or version is None:
        return tool
    return replace(tool, contract=Contract(version, tool.definition, anything, anything))


def _call_from(event: Event, body: Mapping[str, Any]) -> Call:
    caller = Caller(Credential("none", ""), session=body.get("session"))
    call = Call(event.call_id, CallRequest(event.tool, body["arguments"], caller), body["received_ms"])
    call.identity, call.arguments = identity_from(body), body["arguments"]
    return call


def _compared(event: Event, recorded: Mapping[str, Any], decision: Decision) -> Simulated:
    before = _fate(allowed=recorded["allowed"], ruling=recorded["ruling"])
    after = _fate(allowed=decision.allowed, ruling=decision.ruling)
    change = Change.SAME if before is after else Change(f"newly_{after}")
    return Simulated(event, change, before, tuple(recorded["policies"]), after, decision)


def _fate(*, allowed: bool, ruling: str) -> Fate:
    if allowed:
        return Fate.ALLOWED
    return Fate.WAITING if ruling == Ruling.NEEDS_APPROVAL else Fate.DENIED
