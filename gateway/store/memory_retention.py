"""Lets go of bodies in memory: the same promises as any other store's."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from gateway.codec import dump
from gateway.model.facts import StepStatus
from gateway.store.approvals import ApprovalRow
from gateway.store.ports import Event, EventKind
from gateway.store.removable import cut
from gateway.store.retention import Removal, Removed
from gateway.store.retention_events import ENDINGS, RETENTION, is_about_approval, is_over, told_removed

__all__ = ["Remover"]


class _Call(Protocol):
    claim: Event
    end: Event | None
    status: StepStatus
    doubted_seq: int | None
    undone_seq: int | None


class Remover:
    """Takes bodies out of a memory store's events, and out of what its calls hold of them."""

    def __init__(
        self, events: list[Event], calls: Mapping[str, _Call], approvals: Mapping[str, ApprovalRow], append: Any
    ) -> None:
        self._events = events
        self._calls = calls
        self._approvals = approvals
        self._append: Callable[[Any, bytes], Event] = append

    def remove(self, removal: Removal) -> Removed:
        through, gone = removal.after_seq, []
        for event in self._events[removal.after_seq : removal.after_seq + removal.most]:
            if event.at_ms >= removal.before_ms:
                break
            through = event.seq
            gone += [seq for seq in self._due(event, removal.at_ms) if self._cut(seq)]
        if gone:
            told = (removal.at_ms, EventKind.BODIES_REMOVED, RETENTION, "", "", "", "")
            self._append(told, dump(told_removed(removal, through, gone)))
        return Removed(through, len(gone))

    def _due(self, last: Event, at_ms: int) -> Iterator[int]:
        if last.kind is EventKind.CALL_RECORDED:
            yield last.seq
        elif last.kind in ENDINGS:
            yield from self._of_call(self._calls[last.call_id], last)
        elif is_about_approval(last.kind):
            row = self._approvals[last.call_id]
            if row.last_seq == last.seq and is_over(row, at_ms):
                yield from (each.seq for each in self._events if each.call_id == last.call_id)

    @staticmethod
    def _of_call(call: _Call, last: Event) -> Iterator[int]:
        if call.end is not None and call.end.seq == last.seq and call.status is not StepStatus.UNKNOWN:
            found = (call.claim.seq, call.doubted_seq, call.undone_seq, last.seq)
            yield from (seq for seq in found if seq is not None)

    def _cut(self, seq: int) -> bool:
        whole = self._events[seq - 1]
        shorter = replace(whole, body=cut(whole.body.encode()).decode())
        if shorter == whole:
            return False
        self._events[seq - 1] = shorter
        call = self._calls.get(whole.call_id)
        if call is not None and call.claim is whole:
            call.claim = shorter
        elif call is not None and call.end is whole:
            call.end = shorter
        return True
