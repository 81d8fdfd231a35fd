"""Facts in memory: the same promises as any other store's, for as long as the process lives."""

from collections.abc import Callable, Sequence

from gateway.model.facts import FactKey
from gateway.store.chain import told_in
from gateway.store.fact_events import contradiction_body, fact_body, fact_from, judged, row_after, told_of
from gateway.store.facts import Fact, FactAnswer, FactPut, FactRow, FactUse, FactVerdict
from gateway.store.ports import Event, EventKind

__all__ = ["Board"]

Append = Callable[[tuple[int, EventKind, str, str, str, str, str], bytes], Event]


class Board:
    """The facts of a memory store: its rows, over the store's own events."""

    def __init__(self, events: Sequence[Event], append: Append) -> None:
        self._events = events
        self._append = append
        self.rows: dict[FactKey, FactRow] = {}

    def put(self, put: FactPut) -> FactAnswer:
        """Put or delete a fact, or say why not."""
        row = self.rows.get(put.key)
        held = self._fact(row, put.at_ms)
        verdict = judged(put, held, len(self._holding(put.key.scope, put.key.owner, put.at_ms)))
        if verdict is FactVerdict.CONFLICT:
            self._append(told_of(put, EventKind.FACT_CONTRADICTED), contradiction_body(put, held))
        if verdict is not FactVerdict.STORED:
            return FactAnswer(verdict, held)
        row = row_after(put, row, len(self._events) + 1)
        self._append(told_of(put, EventKind.FACT_DELETED if put.gone else EventKind.FACT_PUT), fact_body(row, put))
        self.rows[put.key] = row
        return FactAnswer(verdict, self._fact(row, put.at_ms))

    def are_held(self, uses: Sequence[FactUse], at_ms: int) -> bool:
        """Tell whether facts still have the versions that a decision relied on."""
        found = ((use, self.rows.get(use.key)) for use in uses)
        return all((row.version if row is not None and row.holds(at_ms) else 0) == use.version for use, row in found)

    def find(self, key: FactKey, at_ms: int) -> Fact | None:
        """Return what holds of a fact."""
        return self._fact(self.rows.get(key), at_ms)

    def list_all(self, scope: str, owner: str, at_ms: int) -> list[Fact]:
        """Return the facts of an owner that hold, by name."""
        return [fact_from(row, told_in(self._events, row.seq)) for row in self._holding(scope, owner, at_ms)]

    def _holding(self, scope: str, owner: str, at_ms: int) -> list[FactRow]:
        rows = [self.rows[key] for key in sorted(self.rows)]
        return [row for row in rows if scope in {"", row.scope} and owner in {"", row.owner} and row.holds(at_ms)]

    def _fact(self, row: FactRow | None, at_ms: int) -> Fact | None:
        return fact_from(row, told_in(self._events, row.seq)) if row is not None and row.holds(at_ms) else None
