"""Approvals in memory: the same promises as any other store's, for as long as the process lives."""

from collections.abc import Callable, Sequence

from gateway.store.approval_events import body_of, changed, may_be_used, opened, returned, trail_of, used
from gateway.store.approvals import (
    Answered,
    ApprovalAsk,
    ApprovalChange,
    ApprovalFilter,
    ApprovalRow,
    ApprovalState,
    ApprovalTrail,
    ApprovalUse,
)
from gateway.store.bodies import relied_on
from gateway.store.chain import told_in
from gateway.store.ports import Event, EventKind, Intent

__all__ = ["Shelf"]

Append = Callable[[tuple[int, EventKind, str, str, str, str, str], bytes], Event]
_OVER = frozenset({ApprovalState.EXPIRED, ApprovalState.REVOKED})


class Shelf:
    """The approvals of a memory store: its rows, over the store's own events."""

    def __init__(self, events: Sequence[Event], append: Append) -> None:
        self._events = events
        self._append = append
        self.rows: dict[str, ApprovalRow] = {}

    def ask(self, asked: ApprovalAsk) -> Answered:
        held = self.held(asked.binding, asked.at_ms)
        if held is not None:
            return Answered(held, opened=False)
        return Answered(self._trail(self._open(asked)), opened=True)

    def change(self, change: ApprovalChange, opens: ApprovalAsk | None) -> bool:
        row = self.rows.get(change.id)
        if row is None or row.version != change.version or not row.is_open:
            return False
        if opens is not None and self.held(opens.binding, opens.at_ms) is not None:
            return False
        row = changed(row, change, self._next())
        body = body_of(row, change.body)
        if opens is not None:
            body_of(opened(opens, row.last_seq + 1), opens.body)  # what cannot be written is refused as a whole
        self._tell(row, (change.at_ms, EventKind(change.kind)), body)
        if opens is not None:
            self._open(opens)
        return True

    def is_usable(self, wanted: ApprovalUse, at_ms: int) -> bool:
        """Tell whether a call may use the approval now."""
        row = self.rows.get(wanted.id)
        return row is not None and may_be_used(row, wanted, at_ms)

    def use(self, intent: Intent) -> None:
        """Note, behind the claim itself, that it used its approvals, if it has any."""
        for each in relied_on(intent):
            row = used(self.rows[each.id], self._next())
            self.rows[row.id] = row
            told = (intent.at_ms, EventKind.APPROVAL_USED, row.id, intent.run_id)
            about = (intent.agent, intent.on_behalf_of, intent.tool)
            self._append((*told, *about), body_of(row, {"call": intent.call_id}))

    def give_back(self, approval_id: str, call_id: str, at_ms: int) -> None:
        """Undo the use by a call that certainly did nothing."""
        row = self.rows.get(approval_id)
        if row is not None:
            row = returned(row, self._next())
            self._tell(row, (at_ms, EventKind.APPROVAL_RETURNED), body_of(row, {"call": call_id}))

    def held(self, binding: str, at_ms: int) -> ApprovalTrail | None:
        standing = [
            row
            for row in self.rows.values()
            if row.binding == binding and row.used < row.most and row.until_ms > at_ms and row.state not in _OVER
        ]
        best = max(standing, key=lambda row: (row.state == ApprovalState.APPROVED, row.asked_seq), default=None)
        return None if best is None else self._trail(best)

    def find(self, approval_id: str) -> ApprovalTrail | None:
        row = self.rows.get(approval_id)
        return None if row is None else self._trail(row)

    def list_all(self, wanted: ApprovalFilter) -> list[ApprovalTrail]:
        rows = [
            row
            for row in sorted(self.rows.values(), key=lambda row: -row.asked_seq)
            if (row.is_open or not wanted.is_open)
            and wanted.standing in {None, row.standing}
            and (not wanted.until_ms or row.until_ms <= wanted.until_ms)
            and (not wanted.before_seq or row.asked_seq < wanted.before_seq)
        ]
        return [self._trail(row) for row in rows[: wanted.limit]]

    def _open(self, asked: ApprovalAsk) -> ApprovalRow:
        row = opened(asked, self._next())
        told = (asked.at_ms, EventKind(asked.kind), row.id, asked.run_id)
        self._append((*told, asked.agent, asked.on_behalf_of, asked.tool), body_of(row, asked.body))
        self.rows[row.id] = row
        return row

    def _tell(self, row: ApprovalRow, when: tuple[int, EventKind], body: bytes) -> None:
        about = self._events[row.asked_seq - 1]
        self._append((*when, row.id, about.run_id, about.agent, about.on_behalf_of, about.tool), body)
        self.rows[row.id] = row

    def _next(self) -> int:
        return len(self._events) + 1

    def _trail(self, row: ApprovalRow) -> ApprovalTrail:
        asked, decided, last = (told_in(self._events, seq) for seq in (row.asked_seq, row.version, row.last_seq))
        return trail_of(row, asked, decided, last)
