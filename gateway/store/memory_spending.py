"""What was used up, in memory: the same promises as any other store's, for as long as the process lives."""

from collections.abc import Sequence

from gateway.store.budgets import BudgetCounter, Counters
from gateway.store.memory_chain import MemoryChain
from gateway.store.row_events import spent

__all__ = ["MemorySpending"]


class MemorySpending(MemoryChain):
    """The part of a memory store that counts budgets and remembers what was good for one use."""

    def __init__(self) -> None:
        super().__init__()
        self._counters = Counters()
        self._spent: dict[str, int] = {}

    async def spend(self, item: str, until_ms: int, at_ms: int) -> bool:
        if self._spent.get(item, at_ms) > at_ms:
            return False
        forgotten = sorted(each for each, until in self._spent.items() if until <= at_ms)
        for old in forgotten:
            del self._spent[old]
        self._spent[item] = until_ms
        self._append(*spent(item, until_ms, at_ms, forgotten))
        return True

    async def budget_counters(self, keys: Sequence[str] | None = None) -> list[BudgetCounter]:
        return list(self._counters.all(keys))
