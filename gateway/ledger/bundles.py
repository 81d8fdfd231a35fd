"""Keeps the policies that decided, so that what they decided can be decided again (ARCHITECTURE.md §5)."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from gateway.codec import digest
from gateway.model.clock import Clock
from gateway.store.bodies import load
from gateway.store.ports import EventFilter, EventKind, Events, Ledger, Record

__all__ = ["Bundles", "Kept", "is_as_named", "kept_bundle"]


class Kept(Protocol):
    """Policies in force, as they can be put on record."""

    @property
    def digest(self) -> str:
        """What every decision by them names them by."""
        ...

    def record(self) -> Mapping[str, Any]:
        """Return them as a JSON object."""
        ...


class Bundles:
    """Puts every bundle on record before the first call that it decided, and once, however often it comes back."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._kept: set[str] = set()
        self._keeping = asyncio.Lock()

    def has(self, bundle: Kept) -> bool:
        """Tell whether it is known to be on record."""
        return bundle.digest in self._kept

    async def keep(self, bundle: Kept) -> None:
        """Put a bundle on record. Raises `StoreFault`: then nothing that it decided can be recorded either."""
        async with self._keeping:
            if bundle.digest in self._kept:
                return
            if await kept_bundle(self._ledger, bundle.digest) is None:
                await self._ledger.record(self._record(bundle))
            self._kept.add(bundle.digest)

    async def keep_later(self, bundle: Kept) -> None:
        """Have it written once the store can be written again. Raises `StoreFault` when too much waits already."""
        await self._ledger.record_later(self._record(bundle))

    def _record(self, bundle: Kept) -> Record:
        body, now = bundle.record(), self._clock.now_ms()
        return Record(bundle.digest, now, "", "", "", "", body, EventKind.BUNDLE_KEPT)


async def kept_bundle(ledger: Events, named: str) -> Mapping[str, Any] | None:
    """Return what was put on record of a bundle, or None where it never was. Raises `StoreFault`."""
    if not named:
        return None
    async for event in ledger.events(EventFilter(call_id=named, limit=1)):
        if event.kind is EventKind.BUNDLE_KEPT:
            return load(event.body.encode())
    return None


def is_as_named(body: Mapping[str, Any]) -> bool:
    """Tell whether a recorded bundle is the one that its digest, and so each decision by it, names."""
    try:
        return bool(digest({"schema": body["schema"], "policies": body["policies"]}) == body["digest"])
    except (KeyError, ValueError):
        return False
