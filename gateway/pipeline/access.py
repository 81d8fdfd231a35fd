"""The access review: what policies let each agent do, held against what it did; and less that would have done as well.

What is used is read from the ledger. Less access is worth naming only where every recorded call of the time comes out
under it as it does under the policies in force: each is decided by both before anything is said (`simulation`).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any, Final

from gateway.approval.own_tools import APPROVALS_SERVER
from gateway.catalog.own_tools import RESULTS_SERVER, TOOLS_SERVER
from gateway.model.decision import Ruling
from gateway.model.identity import Identity
from gateway.model.operation import ACTION_OF, operation
from gateway.pipeline.replay import DECIDED
from gateway.pipeline.simulation import Fate, Simulation
from gateway.policy import Bundle, Outlook, allowing, keeping_to
from gateway.store.bodies import load
from gateway.store.ports import Event, EventFilter, Ledger

__all__ = ["AccessReview", "Checked", "Held", "Less", "Tighter"]

_NOT_THERE: Final = frozenset({"unknown_tool", "tool_quarantined"})
_FOR_ALL: Final = frozenset({TOOLS_SERVER, RESULTS_SERVER, APPROVALS_SERVER})
"""The gateway's own tools that show an agent what is its own anyway: nobody is asked whether it may have them."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one agent may do, and did: canonical names of tools and operations.

    `granted` is what some call of might be let through, and how. `used` and `refused` count its calls by whether they
    were let through (or wait for a person), or refused because it may not, or because there is no such tool.
    """

    agent: str
    granted: Mapping[str, Outlook]
    used: Mapping[str, int]
    refused: Mapping[str, int]
    kept: frozenset[str] = frozenset()  # used, or what stands in for it and takes it back

    @property
    def unused(self) -> list[str]:
        """What it may do and did not."""
        return sorted(self.granted.keys() - self.kept)


@dataclass(frozen=True, slots=True)
class Less:
    """Less access for one agent: its `allow:`, None where it stays as it is, and forbids in Cedar, perhaps none.

    `left` is what it may still do without having done it; `why_not` says why there is no less access to name.
    """

    allow: Sequence[str] | None = None
    cedar: str = ""
    left: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """On how many recorded calls less access was tried, and how many could not be, by reason."""

    calls: int
    left_out: Mapping[str, int] = field(default_factory=dict)


Tighter = Callable[[Mapping[str, Sequence[str]], str], Bundle]
"""Builds the policies in force with other `allow:` lists for some agents, and more Cedar."""


class AccessReview:
    """Reviews agents under the policies in force. `allowed` are their `allow:` lists; `servers` those behind."""

    def __init__(
        self, ledger: Ledger, bundle: Bundle, allowed: Mapping[str, Sequence[str]], servers: Collection[str]
    ) -> None:
        self._ledger = ledger
        self._bundle = bundle
        self._allowed = allowed
        self._servers = servers
        self._tools = [tool for tool in bundle.tools.values() if tool.server not in _FOR_ALL]

    def granted(self, agent: Identity, bundle: Bundle | None = None) -> Mapping[str, Outlook]:
        """Return what an agent may do, under the policies in force or others, wherever it is not nothing."""
        decides = self._bundle if bundle is None else bundle
        operations = [operation(server, method) for server in self._servers for method in ACTION_OF]
        outlooks = {tool.name: decides.outlook(agent, tool) for tool in (*self._tools, *operations)}
        return {name: outlook for name, outlook in outlooks.items() if outlook is not Outlook.NEVER}

    async def held(self, agents: Sequence[Identity], wanted: EventFilter) -> list[Held]:
        """Return what each agent may do and did in the events `wanted`. Raises `StoreFault`."""
        used: dict[str, Counter[str]] = {agent.agent: Counter() for agent in agents}
        refused: dict[str, Counter[str]] = {agent.agent: Counter() for agent in agents}
        async for event in self._ledger.events(wanted):
            if event.agent in used:
                for name, was_let in _asked(event):
                    (used if was_let else refused)[event.agent][name] += 1
        return [self._held(agent, used[agent.agent], refused[agent.agent]) for agent in agents]

    def _held(self, agent: Identity, used: Mapping[str, int], refused: Mapping[str, int]) -> Held:
        granted = self.granted(agent)
        kept = frozenset(name for each in used for name in self._with_others(each))
        return Held(agent.agent, granted, dict(used), dict(refused), kept)

    def _with_others(self, name: str) -> Iterator[str]:
        """Yield a tool that was used, those that may answer in its place, and the one that takes its effect back."""
        yield name
        tool = self._bundle.tools.get(name)
        if tool is not None:
            yield from (fallback.tool for fallback in tool.answers.fallbacks)
            yield from (tool.undo,) if tool.undo else ()

    async def less(
        self, found: Sequence[Held], agents: Sequence[Identity], wanted: EventFilter, tighter: Tighter
    ) -> tuple[Mapping[str, Less], Checked]:
        """Return less access for every agent that has more than it used, and on how many calls it was tried.

        Raises:
            StoreFault: the ledger cannot be read.
        """
        now, left_out = await self._fates(self._bundle, wanted)
        found = [_also_keeping(held, now) for held in found]
        by_allow = self._by_allow([held for held in found if held.unused], agents)
        some = tighter(by_allow, "")
        cedar = {held.agent: self._cedar(held, some, agent) for held, agent in zip(found, agents, strict=True)}
        least = tighter(by_allow, "\n".join(text for text in cedar.values() if text))
        then, _ = await self._fates(least, wanted)
        proposed = {}
        for held, agent in zip(found, agents, strict=True):
            if held.unused:
                text = cedar[held.agent]
                after = self.granted(agent, least)
                less = Less(by_allow.get(held.agent), text, tuple(sorted(after.keys() - held.kept)))
                problem = _problem(held, after, now, then)
                proposed[held.agent] = Less(why_not=problem) if problem else less
        return proposed, Checked(len(now), left_out)

    def _by_allow(self, found: Sequence[Held], agents: Sequence[Identity]) -> dict[str, Sequence[str]]:
        """Return a shorter `allow:` for those that have one: what it permits and was used, by name."""
        lists = {held.agent: self._allowed.get(held.agent, ()) for held in found}
        alone = allowing(self._bundle, lists)
        known = {agent.agent: agent for agent in agents}
        shorter: dict[str, Sequence[str]] = {}
        for held in found:
            if lists[held.agent]:
                permitted = self.granted(known[held.agent], alone)
                shorter[held.agent] = sorted(permitted.keys() & held.kept)
        return shorter

    def _cedar(self, held: Held, bundle: Bundle, agent: Identity) -> str:
        """Return forbids for the servers of which an agent may do more than it did, whatever its `allow:` says."""
        excess = self.granted(agent, bundle).keys() - held.kept
        texts = []
        for server in sorted({name.partition(".")[0] for name in excess}):
            kept = {name for name in held.kept if name.startswith(f"{server}.")}
            tools, name = kept & self._bundle.tools.keys(), self._free(f"access.review.{held.agent}.{server}")
            texts.append(keeping_to(held.agent, server, tools, whole=not kept, name=name))
        return "\n".join(text for text in texts if text)

    def _free(self, name: str) -> str:
        """Return a name that no policy has: what an earlier review proposed may be in force."""
        taken = {policy.terms.id for policy in self._bundle.policies}
        return next(each for each in chain([name], (f"{name}.{number}" for number in count(2))) if each not in taken)

    async def _fates(self, bundle: Bundle, wanted: EventFilter) -> tuple[dict[str, "_Fated"], Mapping[str, int]]:
        simulation = Simulation(self._ledger, bundle)
        fated = {
            one.event.call_id: _Fated(one.event.agent, one.event.tool, one.after)
            async for one in simulation.run(wanted)
        }
        return fated, {why: number for why, number in simulation.skipped.items() if number}


@dataclass(frozen=True, slots=True)
class _Fated:
    agent: str
    tool: str
    fate: Fate


def _also_keeping(held: Held, fated: Mapping[str, _Fated]) -> Held:
    """Return what an agent holds, with the tools of recorded calls that the policies in force let through by now."""
    more = {one.tool for one in fated.values() if one.agent == held.agent and one.fate is not Fate.DENIED}
    return Held(held.agent, held.granted, held.used, held.refused, held.kept | more)


def _problem(held: Held, after: Mapping[str, Any], now: Mapping[str, _Fated], then: Mapping[str, _Fated]) -> str:
    """Say what is wrong with less access, if anything: a call that comes out otherwise, or something more."""
    changed = [call for call, one in now.items() if one.agent == held.agent and then.get(call) != one]
    if changed:
        return f"{len(changed)} recorded call(s) would come out otherwise, first {changed[0]}"
    more = sorted(after.keys() - held.granted.keys())
    return f"it would grant {', '.join(more)} besides" if more else ""


def _asked(event: Event) -> Iterator[tuple[str, bool]]:
    """Yield the tools that a recorded call was of, itself and the one it came through, and whether it was let."""
    if event.kind not in DECIDED:
        return
    body = load(event.body.encode())
    if "imported" in body or _is_dry(body):
        return
    decision, outcome = body.get("decision"), body.get("outcome", "")
    if isinstance(decision, Mapping):
        was_let = bool(decision["allowed"]) or decision["ruling"] == Ruling.NEEDS_APPROVAL
    elif "removed" in body:  # retention keeps the outcome alone
        was_let = outcome != "denied"
    elif body.get("error", {}).get("code") in _NOT_THERE:
        was_let = False
    else:
        return
    yield event.tool, was_let
    if isinstance(via := body.get("via"), str) and via:
        yield via, was_let


def _is_dry(body: Mapping[str, Any]) -> bool:
    facts = body.get("facts")
    return isinstance(facts, Mapping) and facts.get("dry_run") is True
