"""The chain of a memory store: what its parts have in common."""

from gateway.store.chain import GENESIS, seal
from gateway.store.ports import Event, EventKind

__all__ = ["MemoryChain", "Told"]

Told = tuple[int, EventKind, str, str, str, str, str]
"""`at_ms, kind, call_id, run_id, agent, on_behalf_of, tool` of an event to be."""


class MemoryChain:
    """The events, each with the hash of the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[Event] = []

    def _append(self, told: Told, body: bytes) -> Event:
        seq = len(self._events) + 1
        prev = self._events[-1].hash if self._events else GENESIS
        sealed = seal(prev, (seq, *told), body)
        event = Event(seq, *told, body=body.decode(), prev_hash=prev, hash=sealed)
        self._events.append(event)
        return event
