"""Tells when a server fails so many calls that it will not keep to what is expected of it.

Multiwindow, multi-burn-rate alerts ("The Site Reliability Workbook", Google, 2018, chapter 5): an error budget is the
share of calls that may fail in the window of an objective; a burn rate of 1 uses it up in just that time.
"""

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.connector.about import UNSAID, About
from gateway.model.clock import Clock
from gateway.model.errors import GatewayError, StoreFault
from gateway.model.failing import servers_asked
from gateway.resilience.config import Objective
from gateway.store.ports import EventFilter, EventKind, Ledger, Record

__all__ = ["Ended", "Expected", "ServiceLevels"]

_LOG = logging.getLogger(__name__)
_LOOK_S: Final = 5.0
_MINUTE_MS: Final = 60_000
_LONGEST_MIN: Final = 360
_FEWEST_FAILED: Final = 5
"""Of a server that is hardly called, so many calls must have failed before it is news."""
_MOST: Final = 0.9
"""Nobody is let wait for a larger share of failed calls than this, however low the objective."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """Burning `budget`, a share of all of it, in `long_min`, and no less in the last `short_min`: then it is news."""

    severity: str
    budget: float
    long_min: int
    short_min: int

    def burn(self, objective: Objective) -> float:
        """Return the burn rate that is too high: 14.4 and 6 for an objective of 30 days."""
        rate = self.budget * objective.window_ms / (self.long_min * _MINUTE_MS)
        return min(rate, _MOST / (1 - objective.success))


_RULES: Final = (_Rule("page", 0.02, 60, 5), _Rule("ticket", 0.05, _LONGEST_MIN, 30))
_RANK: Final[Mapping[str, int]] = {"": 0, "ticket": 1, "page": 2}


Ended = tuple[int, str, str, Sequence[Mapping[str, Any]]]
"""A call as the ledger has it: when it ended (Unix ms), its tool, the error's code or nothing, its attempts."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected now of which servers, who answers for them, and what ended since a time and before another."""

    servers: Callable[[], Iterable[str]]
    objective: Callable[[str], Objective | None]
    past: Callable[[int, int], AsyncIterator[Ended]]
    about: Callable[[str], About] = lambda server: UNSAID


class ServiceLevels:
    """Counts the calls that servers failed, by the minute, and puts on record when they are too many, and no more."""

    def __init__(self, expected: Expected, ledger: Ledger, clock: Clock) -> None:
        self._expected = expected
        self._ledger = ledger
        self._clock = clock
        self._began_ms = clock.now_ms()
        self._minutes: dict[str, dict[int, list[int]]] = {}  # by server and minute: calls, and those it failed
        self._burning: dict[str, str] = {}

    def count(self, tool: str, code: str, attempts: Iterable[Mapping[str, Any]], at_ms: int | None = None) -> None:
        """Count a call that has ended, now unless told otherwise, for the servers of which something is expected."""
        minute = (self._clock.now_ms() if at_ms is None else at_ms) // _MINUTE_MS
        for server, failed in servers_asked(tool, code, attempts).items():
            if self._expected.objective(server) is not None:
                tally = self._minutes.setdefault(server, {}).setdefault(minute, [0, 0])
                tally[0] += 1
                tally[1] += failed

    def standing(self, server: str) -> dict[str, Any] | None:
        """Return how a server stands to what is expected of it, as JSON; None where that is nothing."""
        objective = self._expected.objective(server)
        if objective is None:
            return None
        told: dict[str, Any] = {"success": objective.success, "window": objective.window}
        told["burning"] = self._burning.get(server, "")
        for rule in _RULES:
            calls, failed = self._sum(server, rule.long_min)
            burn = round(_burn(calls, failed, objective), 1)
            told[f"{rule.long_min // 60}h"] = {"calls": calls, "failed": failed, "burn": burn}
        return told

    async def watch(self) -> None:
        """Know what was before this process, then tell of every change, until cancelled."""
        known = False
        while True:
            found = {name: self._expected.objective(name) for name in self._expected.servers()}
            expected = {name: objective for name, objective in found.items() if objective is not None}
            if expected and not known:
                known = True
                await self._recall(expected)
            for server, objective in expected.items():
                if self._minutes.get(server) or self._burning.get(server):
                    await self._look(server, objective)
            await self._clock.sleep(_LOOK_S)

    async def _recall(self, servers: Iterable[str]) -> None:
        try:
            for server in servers:
                async for event in self._ledger.events(EventFilter(call_id=_call_id(server), limit=1, latest=True)):
                    self._burning[server] = str(json.loads(event.body).get("severity", ""))
            since_ms = self._began_ms - _LONGEST_MIN * _MINUTE_MS
            async for at_ms, tool, code, attempts in self._expected.past(since_ms, self._began_ms):
                self.count(tool, code, attempts, at_ms)
        except GatewayError as fault:
            _LOG.error("what servers failed before the start is not known: %s", fault.message)

    async def _look(self, server: str, objective: Objective) -> None:
        self._forget(server)
        before = self._burning.get(server, "")
        rule = next((rule for rule in _RULES if self._burns(server, rule, objective)), None)
        now = "" if rule is None else rule.severity
        if before and not now and any(self._smoulders(server, each, objective) for each in _RULES):
            return
        is_news = _RANK[now] > _RANK[before] or (before and not now)
        if not is_news or await self._told(server, objective, rule):
            self._burning[server] = now

    def _burns(self, server: str, rule: _Rule, objective: Objective) -> bool:
        enough = self._sum(server, rule.long_min)[1] >= _FEWEST_FAILED
        rates = (_burn(*self._sum(server, span), objective) for span in (rule.short_min, rule.long_min))
        return enough and all(rate >= rule.burn(objective) for rate in rates)

    def _smoulders(self, server: str, rule: _Rule, objective: Objective) -> bool:
        """Tell whether it lately burns half as much as is too much: else an alarm would come and go at the line."""
        return _burn(*self._sum(server, rule.short_min), objective) >= rule.burn(objective) / 2

    async def _told(self, server: str, objective: Objective, rule: _Rule | None) -> bool:
        body: dict[str, Any] = {"what": "slo kept again" if rule is None else "slo burning", "server": server}
        words = "fails few enough calls again"
        if rule is not None:
            calls, failed = self._sum(server, rule.long_min)
            burn, span = round(_burn(calls, failed, objective), 1), f"{rule.long_min // 60}h"
            body |= {"severity": rule.severity, "success": objective.success, "window": span}
            body |= {"calls": calls, "failed": failed, "burn": burn}
            words = f"failed {failed} of {calls} calls in {span}, {burn} times as many as it may"
        about = self._expected.about(server)
        body |= {"about": told} if (told := about.told()) else {}
        _LOG.log(logging.WARNING if rule is None else logging.ERROR, "server %s %s", server, words)
        now_ms = self._clock.now_ms()
        try:
            await self._ledger.record(Record(_call_id(server), now_ms, "", "", "", "", body, EventKind.ADMIN))
        except StoreFault as fault:
            _LOG.error("that is not on record yet: %s", fault.message)
            return False
        return True

    def _sum(self, server: str, span_min: int) -> tuple[int, int]:
        first = self._clock.now_ms() // _MINUTE_MS - span_min
        found = [tally for minute, tally in self._minutes.get(server, {}).items() if minute > first]
        return sum(calls for calls, _ in found), sum(failed for _, failed in found)

    def _forget(self, server: str) -> None:
        first = self._clock.now_ms() // _MINUTE_MS - _LONGEST_MIN
        minutes = self._minutes.get(server, {})
        for minute in [each for each in minutes if each <= first]:
            del minutes[minute]


def _burn(calls: int, failed: int, objective: Objective) -> float:
    return failed / calls / (1 - objective.success) if calls else 0.0


def _call_id(server: str) -> str:
    return f"slo {server}"
