"""The audit of rows that events tell of, and of the count of each run's calls."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from gateway.model.errors import LedgerTampered
from gateway.store.bodies import load
from gateway.store.chain import Link, broken
from gateway.store.ports import PauseRecord
from gateway.store.told_rows import TOLD, TableRow, pause_row

__all__ = ["RowAudit", "RowTables", "untold"]


class RowTables(Protocol):
    """What the audit of rows reads beside the events."""

    def rows(self) -> Iterable[TableRow]:
        """Return every row that an event tells of."""
        ...

    def steps(self) -> Mapping[str, int]:
        """Return how many calls each run holds, as far as it is counted."""
        ...


class RowAudit:
    """The audit under way: it remembers of each row there should be what was said of it last."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[str, int]] = {}
        self._steps: Counter[str] = Counter()
        self._last: dict[str, int] = {}  # by run: the event of its last call
        self._is_told = False
        self._is_summed = False

    def counted(self, link: Link) -> None:
        """Count a call of a run."""
        self._steps[link[4]] += 1
        self._last[link[4]] = link[0]

    def told(self, link: Link) -> None:
        """Take note of what an event says of rows."""
        self._is_told = True
        self._take(link)

    def adopted(self, link: Link) -> None:
        """Take rows as they were found, once: before any event told of them, or any sum was kept of them."""
        if _body(link).get("sums") is True:
            if self._is_summed:
                raise broken(link[0], "sums rows as they are, after a sum was kept of them already")
            self._is_summed = True
            return
        if self._is_told:
            raise broken(link[0], "takes rows as they are, after events told of them already")
        self.told(link)

    def stated(self, link: Link) -> None:
        """Take note that a head was signed by a version that tells of every row, or keeps a sum of it."""
        body = _body(link)
        self._is_told = self._is_told or body.get("rows") is True
        self._is_summed = self._is_summed or body.get("sums") is True

    def decreed(self, link: Link) -> None:
        """Take note of a pause, or of its end."""
        body = _body(link)
        scope = str(body.get("scope"))
        if body.get("deed") == "paused":
            pause = PauseRecord(scope, link[1], str(body.get("by")), str(body.get("reason")))
            self._rows["pauses", scope] = pause_row(pause).digest(), link[0]
        elif body.get("deed") == "unpaused":
            self._rows.pop(("pauses", scope), None)

    def conclude(self, tables: RowTables) -> None:
        """Hold the rows there are against those there should be.

        Raises:
            LedgerTampered: naming the row.
        """
        for row in tables.rows():
            digest, seq = self._rows.pop((row.table, row.key), ("", 0))
            if not seq:
                raise untold(f"the row {row.key} of {row.table}")
            if digest != row.digest():
                raise broken(seq, f"is contradicted by the row {row.key} of {row.table}")
        for (table, key), (_, seq) in self._rows.items():
            raise broken(seq, f"is contradicted by {table}, where the row {key} is missing")
        steps = tables.steps()
        for run in sorted(self._steps.keys() | steps.keys()):
            if run not in self._steps:
                raise untold(f"the row {run} of run_steps")
            if self._steps[run] != steps.get(run):
                raise broken(self._last[run], f"is contradicted by the row {run} of run_steps")

    def _take(self, link: Link) -> None:
        for told in _body(link).get("rows", ()):
            if type(told) is not list or len(told) != len(TOLD) or not all(map(isinstance, told, TOLD)):
                raise broken(link[0], "tells of rows as no store does")
            table, key, digest = told
            if digest is None:
                self._rows.pop((table, key), None)
            else:
                self._rows[table, key] = digest, link[0]


def untold(what: str) -> LedgerTampered:
    """Return the fault that says what is there although no event tells of it."""
    return LedgerTampered(
        "The ledger's record does not hold; an operator has to look at it.",
        seq=0,
        detail=f"no event tells of {what}",
    )


def _body(link: Link) -> dict[str, Any]:
    try:
        return load(link[10])
    except ValueError:
        return {}
