"""Events of the ledger told to other systems as CloudEvents 1.0, in order, each until it is taken (K4).

The ledger is the outbox: where a receiver stands is one number in a file, and what it was not told is read from there.
So nothing is lost while it, or the gateway, is not there. After a crash one event may come twice, under the same id.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.approval.webhook import key_of, signed
from gateway.codec import dump
from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.pipeline.receivers import EventsSection
from gateway.pipeline.telling import Telling, posted
from gateway.store.bodies import load
from gateway.store.ports import Event, EventFilter, EventKind, Ledger
from gateway.store.private_file import PrivateFileError, read_private, write_private

if TYPE_CHECKING:
    import httpx2

__all__ = ["Outbox", "Place", "last_seq"]

_LOG: Final = logging.getLogger(__name__)
_EVERY_S: Final = 1.0
_BATCH: Final = 200
_TIMEOUT_S: Final = 10.0
_NEWS: Final = frozenset({EventKind.ADMIN, EventKind.SHAPE_DRIFTED})
"""What is nothing without its body, and holds no arguments and answers."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is kept how far a receiver was told."""

    path: Path

    @classmethod
    def of(cls, private: Path, name: str) -> "Place":
        """Return the place of a receiver in the gateway's private folder."""
        return cls(private / f"events-{name}.seq")

    def read(self) -> int | None:
        """Return the last event it was told, or None for a new receiver. Raises `PrivateFileError`."""
        text = (read_private(self.path) or b"").decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() else None

    def write(self, seq: int) -> None:
        """Keep the last event it was told. Raises `PrivateFileError`."""
        write_private(self.path, b"%d\n" % seq)

    def advance(self, before: int, seq: int) -> bool:
        """Keep it, unless somebody has set another number than the one `before`. Raises `PrivateFileError`."""
        if self.read() != before:
            return False
        self.write(seq)
        return True


async def last_seq(ledger: Ledger) -> int:
    """Return the last event there is; 0 for an empty ledger. Raises `StoreFault`."""
    found = [event.seq async for event in ledger.events(EventFilter(limit=1, latest=True))]
    return found[0] if found else 0


class Outbox:
    """Tells every receiver, as `source`. None waits for another, and no call for any."""

    def __init__(
        self, ledger: Ledger, events: Mapping[str, EventsSection], private: Path, clock: Clock, source: str
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._events = events
        self._private = private
        self._clock = clock
        self.telling = Telling(clock)
        self.problems = self.telling.problems

    async def watch(self) -> None:
        """Tell, until cancelled. A new receiver is told what happens from now on."""
        async with asyncio.TaskGroup() as group:
            for name, section in self._events.items():
                group.create_task(self._follow(name, section))

    async def _follow(self, name: str, section: EventsSection) -> None:
        import httpx2  # which only those gateways need that tell somebody something

        place = Place.of(self._private, name)
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as http:
            while True:
                try:
                    more = await self._catch_up(http, name, section, place)
                    self.problems.pop(name, None)
                except (StoreFault, PrivateFileError) as error:
                    self.problems[name], more = str(error), False
                    _LOG.error("events are not told to %s for now: %s", name, error)
                if not more:
                    await self._clock.sleep(_EVERY_S)

    async def _catch_up(self, http: "httpx2.AsyncClient", name: str, section: EventsSection, place: Place) -> bool:
        """Tell the next events; say whether there may be more of them already."""
        seq = await asyncio.to_thread(place.read)
        if seq is None:
            seq = await last_seq(self._ledger)
            await asyncio.to_thread(place.write, seq)
        found = [event async for event in self._ledger.events(EventFilter(after_seq=seq, limit=_BATCH))]
        for event in found:
            told = any(fnmatchcase(event.kind, kind) for kind in section.kinds)
            if told:
                await self._tell(http, name, section, event)
            if told or event is found[-1]:
                if not await asyncio.to_thread(place.advance, seq, event.seq):
                    return True
                seq = event.seq
        return len(found) == _BATCH

    async def _tell(self, http: "httpx2.AsyncClient", name: str, section: EventsSection, event: Event) -> None:
        """Tell one event until it is taken, or refused for what it is too often."""
        told = _cloud_event(event, self._source, bodies=section.bodies)
        body, key = dump(told), key_of(section.secret.get_secret_value())

        async def attempt() -> str:
            proof = signed(key, event.hash, self._clock.now_ms() // 1000, body)
            headers = {**proof, "content-type": "application/cloudevents+json"}
            return await posted(http.post(section.url, content=body, headers=headers))

        await self.telling.until_taken(name, f"event {event.seq}", attempt)


def _cloud_event(event: Event, source: str, *, bodies: bool) -> dict[str, Any]:
    """Return an event in the structured form; `sequence` and `partitionkey` are extensions of the standard."""
    about = {"call": event.call_id, "run": event.run_id, "agent": event.agent, "onBehalfOf": event.on_behalf_of}
    data: dict[str, Any] = {name: value for name, value in about.items() if value}
    if bodies or event.kind in _NEWS:
        data["body"] = load(event.body.encode())
    when = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "specversion": "1.0",
        "id": event.hash,
        "source": source,
        "type": f"io.toolgate.{event.kind}",
        "time": when,
        **({"subject": event.tool} if event.tool else {}),
        **({"partitionkey": event.run_id} if event.run_id else {}),
        "sequence": str(event.seq),
        "datacontenttype": "application/json",
        "data": data,
    }
