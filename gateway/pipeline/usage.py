"""Takes what agents' telemetry says their models used up: counted against their budgets, and on record."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.budget.telemetry import ModelUsage
from gateway.codec import parse
from gateway.ledger.costs import REPORTS, models_in
from gateway.ledger.entries import Redact
from gateway.model.clock import Clock
from gateway.model.identity import Identity
from gateway.pipeline.rules import RulesInForce
from gateway.store.budgets import BudgetStore
from gateway.store.ports import EventFilter, EventKind, Ledger, Record

__all__ = ["UsageReports"]

_LATEST: Final = 200


class _Kept(Ledger, BudgetStore, Protocol):
    """A ledger that counts budgets."""


class UsageReports:
    """Counts each of the `remembered` latest spans once: exporters send again what was not acknowledged, also after a
    restart.
    """

    def __init__(
        self, store: _Kept, rules: RulesInForce, clock: Clock, redact: Redact, *, remembered: int = 50_000
    ) -> None:
        self._remembered = remembered
        self._store = store
        self._rules = rules
        self._clock = clock
        self._redact = redact
        self._seen: OrderedDict[tuple[str, str], None] | None = None  # until the latest reports are read
        self._taking = asyncio.Lock()

    async def take(self, identity: Identity, usage: Sequence[ModelUsage]) -> int:
        """Put a report on record and count it; return how many spans were new. Raises `StoreFault`: none was taken."""
        async with self._taking:  # what is sent twice at once is counted once
            if self._seen is None:
                self._seen = await self._latest()
            seen = self._seen
            new = {each.span: each for each in usage if (identity.agent, each.span) not in seen}
            if not new:
                return 0
            now = self._clock.now_ms()
            tokens = sum(each.input_tokens + each.output_tokens for each in new.values())
            charges = self._rules.current.budgets.usage(identity, tokens, now)
            told = {"models": self._redact(models_in(new.values())), "spans": list(new)}
            whose = (identity.agent, identity.on_behalf_of or "", REPORTS)
            record = Record("", now, "", *whose, told, EventKind.USAGE_REPORTED)
            await self._store.report_usage(record, charges)
            for span in new:
                seen[identity.agent, span] = None
            while len(seen) > self._remembered:
                seen.popitem(last=False)
            return len(new)

    async def _latest(self) -> OrderedDict[tuple[str, str], None]:
        wanted = EventFilter(tool=REPORTS, limit=_LATEST, latest=True)
        found: OrderedDict[tuple[str, str], None] = OrderedDict()
        async for event in self._store.events(wanted):
            if event.kind is EventKind.USAGE_REPORTED:
                found.update(dict.fromkeys((event.agent, span) for span in parse(event.body.encode())["spans"]))
        return found
