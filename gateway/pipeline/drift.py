"""Tells people which tools are in quarantine since their server offers them otherwise than they were pinned."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from gateway.catalog.catalog import NEW
from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.pipeline.rules import RulesInForce
from gateway.store.ports import EventKind, Ledger, Record

__all__ = ["Drift"]

_LOG = logging.getLogger(__name__)
_APART_S: Final = 1.0
"""A server that changes its tools all the time is put on record at most so often."""
_MOST: Final = 20
_LONGEST: Final = 300


class Drift:
    """Puts on record, and into the log, each tool that comes into quarantine: once, until it was out of it."""

    def __init__(self, rules: RulesInForce, ledger: Ledger, clock: Clock) -> None:
        self._rules = rules
        self._ledger = ledger
        self._clock = clock
        self._told: dict[str, frozenset[str]] = {}
        self.changed = asyncio.Event()
        """To be set when the rules changed."""

    async def watch(self) -> None:
        """Tell of what the rules in force hold in quarantine, and of every change, until cancelled."""
        while True:
            self.changed.clear()
            held = self._held()
            for server in {*held, *self._told}:
                now = held.get(server, {})
                fresh = {name: why for name, why in now.items() if name not in self._told.get(server, frozenset())}
                if not fresh or await self._recorded(server, fresh):
                    self._told[server] = frozenset(now)
            await self._clock.sleep(_APART_S)
            await self.changed.wait()

    def _held(self) -> Mapping[str, Mapping[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for tool in self._rules.current.catalog.tools():
            if tool.quarantined:
                found.setdefault(tool.server, {})[tool.name] = tool.quarantined
        return found

    async def _recorded(self, server: str, fresh: Mapping[str, str]) -> bool:
        told = {name: why[:_LONGEST] for name, why in list(fresh.items())[:_MOST]}
        level = logging.INFO if set(fresh.values()) == {NEW} else logging.WARNING
        for name, why in told.items():
            _LOG.log(level, "%s is quarantined: %s; see: toolgate schema diff %s", name, why, name)
        body: dict[str, Any] = {"what": "tools quarantined", "server": server, "tools": told}
        if len(fresh) > _MOST:
            _LOG.log(level, "and %d more tools of %s are", len(fresh) - _MOST, server)
            body["more"] = len(fresh) - _MOST
        about = self._rules.current.abouts.get(server)
        body |= {"about": about.told()} if about is not None and about.told() else {}
        try:
            await self._ledger.record(Record("", self._clock.now_ms(), "", "", "", "", body, EventKind.ADMIN))
        except StoreFault as fault:
            _LOG.error("that tools of %s are quarantined is not on record yet: %s", server, fault.message)
            self.changed.set()
            return False
        return True
