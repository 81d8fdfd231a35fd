"""Messages of other systems on their way in: checked, kept, acknowledged, and then news for whoever subscribed."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Final, Protocol

from gateway.codec import parse
from gateway.connector import Delivery, Receiver
from gateway.ledger.entries import Redact
from gateway.model.clock import Clock, IdSource
from gateway.model.errors import ConnectorFault
from gateway.store.ports import EventFilter, EventKind, Ledger, Record
from gateway.store.spending import SpentStore

__all__ = ["Hooks", "UnknownHook"]

_TELL_EVERY_MS: Final = 1_000


class Book(Ledger, SpentStore, Protocol):
    """Where messages are recorded, each once."""


class UnknownHook(LookupError):
    """Nothing receives messages there."""


class Hooks:
    """Takes messages for the receivers, by server. A message is on record before it is acknowledged.

    What tells its repetitions is kept with it, in one transaction, for as long as its receiver says.
    """

    def __init__(self, book: Book, clock: Clock, ids: IdSource, redact: Redact) -> None:
        self.receivers: dict[str, Receiver] = {}
        self._book = book
        self._clock = clock
        self._ids = ids
        self._redact = redact
        self._keeping = asyncio.Lock()
        self._refused: dict[str, tuple[int, int]] = {}  # by hook: when it was last told of, and how many since

    async def restore(self) -> None:
        """Give every receiver its latest messages back. Raises `StoreFault`."""
        for server, receiver in self.receivers.items():
            for hook, most in receiver.hooks().items():
                named = _named(server, hook)
                wanted = EventFilter(tool=named, kind=EventKind.WEBHOOK_RECEIVED, limit=most, latest=True)
                async for event in self._book.events(wanted):
                    self._take(server, hook, _delivery(event.body, event.at_ms), again=True)

    async def receive(self, server: str, hook: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Take one message; False for a repetition, which changes nothing.

        Raises:
            UnknownHook: there is no such hook.
            ConnectorFault: it is refused; the text is for the sender.
            StoreFault: it cannot be kept right now, and was not taken.
        """
        receiver = self.receivers.get(server)
        if receiver is None or hook not in receiver.hooks():
            raise UnknownHook(hook)
        now = self._clock.now_ms()
        try:
            delivery = receiver.check(hook, headers, body, now)
        except ConnectorFault as fault:
            await self._tell(server, hook, now, fault.message)
            raise
        async with self._keeping:  # they are taken in as they are on record
            kept = self._redact([delivery.id, delivery.payload])
            told = {"id": kept[0], "key": delivery.key, "payload": kept[1]}
            told["body_digest"] = hashlib.sha256(body).hexdigest()
            event = _record(self._ids.new("hook"), now, _named(server, hook), told, EventKind.WEBHOOK_RECEIVED)
            item = f"hook {event.tool} {delivery.key}"
            if not await self._book.record_once(event, item, delivery.known_until_ms):
                return False
            self._take(server, hook, Delivery(kept[0], delivery.key, now, kept[1]))
        return True

    def _take(self, server: str, hook: str, delivery: Delivery, *, again: bool = False) -> None:
        self.receivers[server].take(hook, delivery, again=again)

    async def _tell(self, server: str, hook: str, now: int, why: str) -> None:
        """Put a refusal on record, once a second: a flood of them is counted, not kept."""
        name = _named(server, hook)
        last, missed = self._refused.get(name, (0, 0))
        if now - last < _TELL_EVERY_MS:
            self._refused[name] = (last, missed + 1)
            return
        self._refused[name] = (now, 0)
        told = {"what": "webhook refused", "why": why, "more_since": missed}
        await self._book.record(_record("", now, name, told, EventKind.ADMIN))


def _named(server: str, hook: str) -> str:
    return f"{server}.hooks/{hook}"


def _record(event_id: str, now: int, name: str, body: Mapping[str, object], kind: EventKind) -> Record:
    return Record(event_id, now, "", "", "", name, body, kind)


def _delivery(body: str, at_ms: int) -> Delivery:
    told = parse(body.encode())
    return Delivery(told["id"], told["key"], at_ms, told["payload"])
