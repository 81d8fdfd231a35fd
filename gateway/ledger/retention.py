"""Lets go of what was to be kept for a time, in the background and in small pieces."""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from gateway.model.clock import Clock
from gateway.model.errors import GatewayError
from gateway.store.bodies import load
from gateway.store.ports import EventFilter, Ledger
from gateway.store.retention import Removal, RetentionStore
from gateway.store.retention_events import RETENTION

__all__ = ["Retention", "bodies_removed"]

_LOG: Final = logging.getLogger(__name__)
_EVERY_S: Final = 3600.0
_BREATH_S: Final = 0.05
"""Between two pieces, so that calls come first."""


class _Kept(Ledger, RetentionStore, Protocol):
    """A ledger that can let go."""


class Retention:
    """Removes the bodies of what ended longer ago than `kept_ms` says now; None keeps them for ever."""

    def __init__(self, store: _Kept, kept_ms: Callable[[], int | None], clock: Clock) -> None:
        self._store = store
        self._kept_ms = kept_ms
        self._clock = clock
        self._through: int | None = None

    async def run(self) -> int:
        """Remove all whose time is over; return how many bodies went. Raises `StoreFault`."""
        kept_ms = self._kept_ms()
        if kept_ms is None:
            return 0
        if self._through is None:
            self._through = await self._reached()
        bodies = 0
        while True:
            now = self._clock.now_ms()
            removed = await self._store.remove_bodies(Removal(now - kept_ms, now, self._through))
            bodies += removed.bodies
            if removed.through_seq == self._through:
                return bodies
            self._through = removed.through_seq
            await self._clock.sleep(_BREATH_S)

    async def watch(self) -> None:
        """Do so every hour, for ever; what cannot be done is told to the log and tried again."""
        while True:
            try:
                bodies = await self.run()
                if bodies:
                    _LOG.info("removed %d bodies whose time was over", bodies)
            except GatewayError as error:
                _LOG.error("bodies whose time is over could not be removed: %s", error.detail or error.message)
            await self._clock.sleep(_EVERY_S)

    async def _reached(self) -> int:
        wanted = EventFilter(call_id=RETENTION, limit=1, latest=True)
        found = [load(event.body.encode())["through"] async for event in self._store.events(wanted)]
        return int(found[0]) if found else 0


async def bodies_removed(ledger: Ledger) -> int:
    """Return how many bodies retention has removed. Raises `StoreFault`."""
    told = ledger.events(EventFilter(call_id=RETENTION, limit=2**63 - 1))
    return sum([int(load(event.body.encode())["bodies"]) async for event in told])
