"""Runs in memory: the same promises as any other store's, for as long as the process lives."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.model.errors import StoreFault
from gateway.model.facts import RunRef
from gateway.store.bodies import attempt_body, cancel_body, load, run_body
from gateway.store.importing import on_record
from gateway.store.ports import Event, EventKind
from gateway.store.row_events import placed
from gateway.store.runs import (
    Attempt,
    AttemptBegin,
    Placed,
    RunCancel,
    RunChange,
    RunStatus,
    RunSummary,
    next_attempt,
    told_caller,
)
from gateway.store.told_rows import TableRow, place_row

__all__ = ["HeldRun", "RunShelf"]

Append = Callable[[tuple[int, EventKind, str, str, str, str, str], bytes], Event]
_CHANGES: Final = frozenset({EventKind.RUN_BEGUN, EventKind.RUN_CANCELLED})


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run as it stands: `opened` is the event that tells of it."""

    ref: RunRef
    key: str
    opened: Event


class RunShelf:
    """The runs of a memory store, over the store's own events. `doubtful` counts a run's calls in doubt."""

    def __init__(self, events: Sequence[Event], append: Append, doubtful: Callable[[str], int]) -> None:
        self._events = events
        self._append = append
        self._doubtful = doubtful
        self.places: dict[tuple[str, str], TableRow] = {}
        self.held: dict[str, HeldRun] = {}
        self.steps: Counter[str] = Counter()

    def open(self, run: RunRef, key: str, at_ms: int) -> RunRef:
        known = self.named(run.owner, key)
        if known is not None:
            return known
        if run.id in self.held:
            raise StoreFault("The run cannot be opened.", detail=f"{run.id} was opened before")
        told = (at_ms, EventKind.RUN_OPENED, "", run.id, *told_caller(run.owner), "")
        self.held[run.id] = HeldRun(run, key, self._append(told, run_body(run, key)))
        return run

    def check_new(self, run: RunRef, key: str) -> None:
        if run.id in self.held:
            raise on_record(f"The run {run.id}")
        named = self.named(run.owner, key)
        if named is not None:
            raise on_record(f"Another run of {run.owner} with the same name, {named.id},")

    def find(self, run_id: str) -> RunRef | None:
        run = self.held.get(run_id)
        return None if run is None else run.ref

    def named(self, owner: str, key: str) -> RunRef | None:
        found = (run.ref for run in reversed(self.held.values()) if (run.ref.owner, run.key) == (owner, key))
        return next(found, None)

    def listed(self, owner: str, limit: int) -> list[RunSummary]:
        found = [run for run in reversed(self.held.values()) if owner in {"", run.ref.owner}]
        return [self._summary(run) for run in found[:limit]]

    def _summary(self, run: HeldRun) -> RunSummary:
        ref = run.ref
        attempts = self.attempt(ref.id, ref.owner).number
        return RunSummary(ref, run.key, run.opened.at_ms, self.steps[ref.id], self._doubtful(ref.id), attempts)

    def begin(self, begin: AttemptBegin) -> Attempt:
        if begin.run_id not in self.held:
            raise StoreFault("The run cannot be begun anew.", detail=f"there is no run {begin.run_id}")
        attempts = self._attempts(begin.run_id, begin.who)
        number = next_attempt(begin, attempts, self.steps[begin.run_id])
        if number == 0:
            return attempts[-1]
        told = (begin.at_ms, EventKind.RUN_BEGUN, "", begin.run_id, *told_caller(begin.who), "")
        return Attempt(number, begin.label, self._append(told, attempt_body(begin, number)).seq)

    def attempt(self, run_id: str, who: str) -> Attempt:
        attempts = self._attempts(run_id, who)
        return attempts[-1] if attempts else Attempt()

    def _attempts(self, run_id: str, who: str) -> list[Attempt]:
        told = (run_id, *told_caller(who))
        events = [each for each in self._changes() if (each.run_id, each.agent, each.on_behalf_of) == told]
        bodies = [(each.seq, load(each.body.encode())) for each in events if each.kind is EventKind.RUN_BEGUN]
        return [Attempt(body["attempt"], body["label"], seq) for seq, body in bodies]

    def cancel(self, cancel: RunCancel) -> bool:
        run = self.held.get(cancel.run_id)
        if run is None or run.ref.status != RunStatus.OPEN:
            return False
        told = (cancel.at_ms, EventKind.RUN_CANCELLED, "", cancel.run_id, *told_caller(run.ref.owner), "")
        self._append(told, cancel_body(cancel))
        self.held[cancel.run_id] = replace(run, ref=replace(run.ref, status=str(RunStatus.CANCELLED)))
        return True

    def changes(self, after_seq: int) -> list[RunChange]:
        return [
            RunChange(each.seq, each.run_id, _who(each) if each.kind is EventKind.RUN_BEGUN else "")
            for each in self._changes()
            if each.seq > after_seq
        ]

    def place(self, owner: str, place: str, run_id: str, at_ms: int) -> None:
        self.places[owner, place] = row = place_row(owner, place, run_id, at_ms)
        self._append(*placed(row, at_ms, ()))

    def placed(self, owner: str, places: tuple[str, ...]) -> Mapping[str, Placed]:
        found = {place: self.places[owner, place].values[2:] for place in places if (owner, place) in self.places}
        return {
            place: Placed(self.held[run_id].ref, at_ms, max(at_ms, self._active_ms(run_id)))
            for place, (run_id, at_ms) in found.items()
            if run_id in self.held
        }

    def _active_ms(self, run_id: str) -> int:
        return max(each.at_ms for each in self._events if each.run_id == run_id)

    def _changes(self) -> list[Event]:
        return [each for each in self._events if each.kind in _CHANGES]


def _who(event: Event) -> str:
    return f"{event.agent}/{event.on_behalf_of}" if event.on_behalf_of else event.agent
