"""Taint in memory: the same promises as any other store's, for as long as the process lives."""

from collections.abc import Callable, Sequence

from gateway.store.chain import GENESIS
from gateway.store.ports import Event, EventKind
from gateway.store.taint_events import Found, cleared_body, marked, marked_body, taint_of
from gateway.store.taints import Clearing, Taint

__all__ = ["Taints"]

Append = Callable[[tuple[int, EventKind, str, str, str, str, str], bytes], Event]


class Taints:
    """The last event of taint about each run and each principal, over the store's own events."""

    def __init__(self, events: Sequence[Event], append: Append) -> None:
        self._events = events
        self._append = append
        self._of_runs: dict[str, Event] = {}
        self._of_principals: dict[tuple[str, str], Event] = {}

    def find(self, run_id: str, agent: str, on_behalf_of: str) -> Taint:
        """Return what follows a run and a principal."""
        run, principal = self._of_runs.get(run_id), self._of_principals.get((agent, on_behalf_of))
        return taint_of(self._found(run), self._found(principal))

    def mark(self, told: Event, labels: Sequence[str]) -> None:
        """Mark what the answer to a call carried, behind the event that recorded it."""
        if labels:
            before = self.find(told.run_id, told.agent, told.on_behalf_of)
            body = marked_body(marked(before, labels, told.at_ms), labels, told.call_id)
            about = (told.run_id, told.agent, told.on_behalf_of, told.tool)
            self._put((told.at_ms, EventKind.TAINT_MARKED, "", *about), body)

    def clear(self, clearing: Clearing) -> bool:
        """Let go of a taint."""
        before = self.find(clearing.run_id, clearing.agent, clearing.on_behalf_of)
        if not before.run and not before.principal:
            return False
        about = (clearing.run_id, clearing.agent, clearing.on_behalf_of, "")
        self._put((clearing.at_ms, EventKind.TAINT_CLEARED, "", *about), cleared_body(clearing, before))
        return True

    def _put(self, told: tuple[int, EventKind, str, str, str, str, str], body: bytes) -> None:
        event = self._append(told, body)
        self._of_runs[event.run_id] = self._of_principals[event.agent, event.on_behalf_of] = event

    def _found(self, event: Event | None) -> Found:
        if event is None:
            return Found(None, None)
        last = self._events[-1].hash if self._events else GENESIS
        return Found(event, self._events[event.seq].prev_hash if event.seq < len(self._events) else last)
