"""What was used up, in memory: the same promises as any other store's, for as long as the process lives."""

from collections.abc import Sequence

from gateway.store.budgets import BudgetCounter, Counters

__all__ = ["MemorySpending"]


class MemorySpending:
    """The part of a memory store that counts budgets and remembers what was good for one use."""

    def __init__(self) -> None:
        super().__init__()
        self._counters = Counters()
        self._spent: dict[str, int] = {}

    async def spend(self, item: str, until_ms: int, at_ms: int) -> bool:
        for old in [each for each, until in self._spent.items() if until <= at_ms]:
            del self._spent[old]
        if item in self._spent:
            return False
        self._spent[item] = until_ms
        return True

    async def budget_counters(self, keys: Sequence[str] | None = None) -> list[BudgetCounter]:
        return list(self._counters.all(keys))
