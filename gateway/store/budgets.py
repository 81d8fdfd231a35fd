"""What the budget concept asks of storage: counters that a claim reserves from and an ending settles.

A counter has a key (what is limited, in which unit and window) and a part of time. All of them follow from the events:
a claim's say what it reserves, an ending's what became of that. The audit counts along, and finds any other number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gateway.model.bill import Charge

if TYPE_CHECKING:
    from gateway.store.ports import Record

__all__ = ["KEPT", "BudgetCounter", "BudgetStore", "Counters", "Settled", "Shortage", "is_short"]

KEPT: Final = 256
"""Of each key the counters of the newest parts of time are kept, so many: also those a clock that went back needs."""


class BudgetCounter(NamedTuple):
    """What was used up of a budget in one part of time, in millionths: `spent` for good, `reserved` for the moment."""

    key: str
    start_ms: int
    spent: int
    reserved: int

    @property
    def used(self) -> int:
        """All that is not left."""
        return self.spent + self.reserved


class Settled(NamedTuple):
    """What became of a charge: `reserved` is given back, `spent` is gone."""

    key: str
    start_ms: int
    reserved: int
    spent: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """A charge that does not fit, and what had been used up by then."""

    charge: Charge
    counters: tuple[BudgetCounter, ...]


class BudgetStore(Protocol):
    """Reads the counters; only claims, endings and reports of what models used up change them."""

    async def budget_counters(self, keys: Sequence[str] | None = None) -> list[BudgetCounter]:
        """Return the counters of these keys (None: every one), by key and time."""
        ...

    async def report_usage(self, record: "Record", charges: Sequence[Charge]) -> None:
        """Append what was used up already and count it, whatever is left: all durable, or nothing."""
        ...


class Counters:
    """Counters in memory: those of a memory store, and those by which the audit checks any other's."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, list[int]]] = {}

    def short(self, charges: Sequence[Charge]) -> tuple[Shortage, ...]:
        """Return the charges that do not fit."""
        found = ((charge, tuple(self._counting(charge))) for charge in charges)
        return tuple(Shortage(charge, counters) for charge, counters in found if is_short(charge, counters))

    def reserve(self, key: str, start_ms: int, amount: int) -> None:
        """Put a claim's amount aside."""
        parts = self._parts.setdefault(key, {})
        parts.setdefault(start_ms, [0, 0])[1] += amount
        if len(parts) > KEPT:
            del parts[min(parts)]

    def spend(self, key: str, start_ms: int, amount: int) -> None:
        """Count what is gone already."""
        self.reserve(key, start_ms, amount)
        self.settle(Settled(key, start_ms, amount, amount))

    def settle(self, settled: Settled) -> None:
        """Give a claim's amount back or away; nothing happens where its part of time is no longer kept."""
        part = self._parts.get(settled.key, {}).get(settled.start_ms)
        if part is not None:
            part[0] += settled.spent
            part[1] -= settled.reserved

    def all(self, keys: Sequence[str] | None = None) -> Iterator[BudgetCounter]:
        """Yield the counters of these keys (None: every one), by key and time."""
        for key in sorted(self._parts if keys is None else self._parts.keys() & set(keys)):
            for start_ms, (spent, reserved) in sorted(self._parts[key].items()):
                yield BudgetCounter(key, start_ms, spent, reserved)

    def _counting(self, charge: Charge) -> Iterator[BudgetCounter]:
        return (counter for counter in self.all([charge.key]) if counter.start_ms >= charge.since_ms)


def is_short(charge: Charge, counters: Sequence[BudgetCounter]) -> bool:
    """Tell whether a charge does not fit beside what has been used up."""
    return sum(counter.used for counter in counters) + charge.needs > charge.most
