"""Earned autonomy: what people and outcomes say of an agent's calls of a tool, and what follows from it.

Where people approved what they were asked, and what was done stood, a standing approval is proposed, which a person
accepts. It ends by itself when what is done under it does not stand. Both go by the ledger alone.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.approval.approvals import Approvals
from gateway.approval.config import AutonomySection
from gateway.approval.values import Approval, ApprovalRefused
from gateway.model.duration import milliseconds
from gateway.model.facts import StepStatus
from gateway.pipeline.desk import Desk, Grant
from gateway.store.bodies import load
from gateway.store.ports import Event, EventFilter, EventKind, Ledger

__all__ = ["Autonomy", "Finding", "Proposal", "Zone"]

_LOG = logging.getLogger(__name__)
_EVERYTHING: Final = 2**31 - 1
_OVERRIDES: Final = frozenset({EventKind.APPROVAL_DENIED, EventKind.APPROVAL_EDITED, EventKind.APPROVAL_WITHDRAWN})
"""A person says otherwise than the agent asked, or takes back what was said."""

_ENDS: Final = frozenset({EventKind.CALL_FINISHED, EventKind.CALL_SETTLED})


@dataclass(slots=True)
class Zone:
    """An agent's calls of one tool, by id: what people approved and overrode, what was carried out, what of it failed.

    A call failed that ended so, is in doubt, or was taken back. `most` are the largest numbers that people approved, by
    argument.
    """

    agent: str
    tool: str
    approved: set[str] = field(default_factory=set)
    overridden: set[str] = field(default_factory=set)
    carried: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    most: dict[str, int | float] = field(default_factory=dict)
    _asked: dict[str, Mapping[str, int | float]] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """How many calls the rate is of: those carried out, and those that people would not have."""
        return len(self.carried) + len(self.overridden)

    @property
    def rate(self) -> float:
        """The part of them that people overrode, or that failed; 0 where there are none."""
        return (len(self.failed) + len(self.overridden)) / self.calls if self.calls else 0.0

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        counts = {name: len(getattr(self, name)) for name in ("approved", "overridden", "carried", "failed")}
        return {**counts, "rate": round(self.rate, 4)}

    def take(self, event: Event) -> None:
        """Take in what happened next."""
        kind, of = event.kind, event.call_id
        if kind is EventKind.CALL_CLAIMED:
            self.carried |= set() if "undoes" in load(event.body.encode()) else {of}
        elif kind in _ENDS and of in self.carried:
            ended = load(event.body.encode())["ending"]["status"] == StepStatus.SUCCEEDED
            self.failed = self.failed - {of} if ended else self.failed | {of}
        elif kind is EventKind.CALL_COMPENSATED and of in self.carried:
            self.failed.add(of)
        elif kind is EventKind.APPROVAL_ASKED:
            self._asked[of] = _numbers(load(event.body.encode()).get("arguments"))
        elif kind is EventKind.APPROVAL_APPROVED:
            self.approved.add(of)
            self._widen(self._asked.get(of, {}))
        elif kind in _OVERRIDES:
            self.approved.discard(of)
            self.overridden.add(of)

    def _widen(self, numbers: Mapping[str, int | float]) -> None:
        for name, value in numbers.items():
            self.most[name] = max(value, self.most.get(name, value))


async def _reviewed(ledger: Ledger, wanted: EventFilter) -> dict[tuple[str, str], Zone]:
    """Return what happened in the zones that `wanted` names, by agent and tool. Raises `StoreFault`."""
    zones: dict[tuple[str, str], Zone] = {}
    async for event in ledger.events(wanted):
        place = event.agent, event.tool
        if event.kind is EventKind.STANDING_REVOKED:  # what led to the one that ended speaks for no other
            zones.pop(place, None)
        elif all(place):
            zones.setdefault(place, Zone(*place)).take(event)
    return zones


@dataclass(frozen=True, slots=True)
class Proposal:
    """A standing approval that would fit: so many calls, for so long (`30d`), whose arguments meet the conditions."""

    most: int
    lasts: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured of a zone, the standing approval it has, and what is proposed, or why nothing is."""

    zone: Zone
    standing: Approval | None
    proposal: Proposal | None
    why_not: str

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        zone, standing = self.zone, self.standing
        level = {"level": "asked" if standing is None else "standing"}
        has = {} if standing is None else {"standing": standing.id, "used": standing.used, "most": standing.most}
        proposal = None if self.proposal is None else asdict(self.proposal)
        about = {"agent": zone.agent, "tool": zone.tool, **level, **zone.told(), **has}
        return {**about, "proposal": proposal, "why_not": self.why_not}


class Autonomy:
    """Proposes standing approvals, makes those that are accepted, and ends those that are not deserved any more."""

    def __init__(self, ledger: Ledger, approvals: Approvals, desk: Desk, section: AutonomySection) -> None:
        self._ledger = ledger
        self._approvals = approvals
        self._desk = desk
        self._section = section
        self._watched: dict[str, tuple[Zone, int]] = {}

    async def review(self) -> list[Finding]:
        """Return, for each agent and tool that people were asked about, what was measured and what is proposed."""
        since = self._approvals.now_ms() - milliseconds(self._section.since)
        zones = await _reviewed(self._ledger, EventFilter(since_ms=since, limit=_EVERYTHING))
        standing = {(one.agent, one.tool): one for one in await self._approvals.standing(access=False)}
        asked = (zone for _, zone in sorted(zones.items()) if zone.approved or zone.overridden)
        return [self._found(zone, standing.get((zone.agent, zone.tool))) for zone in asked]

    def _found(self, zone: Zone, standing: Approval | None) -> Finding:
        why_not = "it has a standing approval" if standing is not None else self._why_not(zone)
        where = tuple(f"{name} <= {json.dumps(value)}" for name, value in sorted(zone.most.items()))
        proposal = None if why_not else Proposal(self._section.most, self._section.lasts, where)
        return Finding(zone, standing, proposal, why_not)

    def _why_not(self, zone: Zone) -> str:
        """Say why nothing is proposed, or nothing where something is."""
        section = self._section
        if len(zone.approved) < section.least or len(zone.carried) < section.least:
            return f"fewer than {section.least} calls were approved and carried out"
        if zone.rate > section.promote_below:
            return f"{zone.rate:.1%} were overridden or failed, more than {section.promote_below:.1%}"
        return ""

    async def accept(self, by: str, agent: str, tool: str, less: Proposal) -> Approval:
        """Make the standing approval that is proposed, or `less`: 0 and an empty `lasts` are as proposed, `where` adds.

        Raises:
            ApprovalRefused: nothing is proposed there, it would be wider than that, or the policies do not let them.
            StoreFault: it cannot be told, or put on record.
        """
        found = [each for each in await self.review() if (each.zone.agent, each.zone.tool) == (agent, tool)]
        proposal = found[0].proposal if found else None
        if proposal is None:
            why = found[0].why_not if found else "people were asked about no such call"
            raise ApprovalRefused("not_earned", f"Nothing is proposed for {agent} and {tool}: {why}.")
        most, lasts = less.most or proposal.most, milliseconds(less.lasts or proposal.lasts)
        if most > proposal.most or lasts > milliseconds(proposal.lasts):
            raise ApprovalRefused("too_wide", f"At most {proposal.most} calls in {proposal.lasts} are proposed.")
        where, until = (*proposal.where, *less.where), self._approvals.now_ms() + lasts
        earned = found[0].zone.told()
        return await self._desk.grant(by, Grant(agent, tool, most, until, where, why="earned", earned=earned))

    async def demote(self) -> list[str]:
        """End what was earned and is not deserved any more, on record; return the ids. Raises `StoreFault`."""
        live = [one for one in await self._approvals.standing() if one.asked.get("earned")]
        self._watched = {one.id: self._watched.get(one.id, (Zone(one.agent, one.tool), 0)) for one in live}
        ended = []
        for one in live:
            zone = await self._since(one)
            if zone.calls >= self._section.demote_least and zone.rate > self._section.demote_above:
                why = f"{len(zone.failed)} failed and {len(zone.overridden)} overridden of {zone.calls} calls since"
                await self._approvals.void(one, f"not deserved any more: {why} ({zone.rate:.1%})")
                _LOG.warning("%s has to ask for %s again (%s): %s", one.agent, one.tool, one.id, why)
                ended.append(one.id)
        return ended

    async def _since(self, approval: Approval) -> Zone:
        """Return what has happened since an approval was accepted."""
        zone, seen = self._watched[approval.id]
        wanted = EventFilter(
            agent=approval.agent,
            tool=approval.tool,
            since_ms=approval.asked_ms,
            after_seq=max(seen, approval.version),
            limit=_EVERYTHING,
        )
        async for event in self._ledger.events(wanted):
            zone.take(event)
            seen = event.seq
        self._watched[approval.id] = zone, seen
        return zone


def _numbers(arguments: Any) -> Mapping[str, int | float]:
    """Return the numbers among arguments, at the top."""
    if not isinstance(arguments, Mapping):
        return {}
    return {name: value for name, value in arguments.items() if type(value) in {int, float}}
