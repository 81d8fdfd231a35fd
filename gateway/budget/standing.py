"""How the budgets stand: what is allowed, spent, reserved and left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.budget.budgets import Budgets, key_of
from gateway.model.limit import Limit
from gateway.store.budgets import BudgetCounter

__all__ = ["Standing", "standings"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How one budget stands, in millionths; `frees_ms` is when something of what is used up counts no longer."""

    scope: str
    limit: Limit
    spent: int
    reserved: int
    frees_ms: int | None

    @property
    def left(self) -> int:
        """What may still be used up; below zero where a limit was lowered, or a result was larger than foreseen."""
        return self.limit.most - self.spent - self.reserved


def standings(budgets: Budgets, counters: Sequence[BudgetCounter], now_ms: int) -> Iterator[Standing]:
    """Yield how each budget stands, from the widest to the narrowest; of runs those that have used something."""
    for scope, limits in budgets.limits.items():
        for limit in limits:
            of = sorted({counter.key for counter in counters if _is_run(counter.key, limit)}) if scope == "run" else []
            for key in of if scope == "run" else [key_of(scope, limit)]:
                yield _standing(key, limit, counters, now_ms)


def _is_run(key: str, limit: Limit) -> bool:
    return key.startswith("run:") and key.endswith(key_of("", limit))


def _standing(key: str, limit: Limit, counters: Sequence[BudgetCounter], now_ms: int) -> Standing:
    since = limit.window.since_ms(now_ms)
    counted = [each for each in counters if each.key == key and each.start_ms >= since]
    used = [each for each in counted if each.used]
    return Standing(
        scope=key.rsplit("|", 2)[0],
        limit=limit,
        spent=sum(each.spent for each in counted),
        reserved=sum(each.reserved for each in counted),
        frees_ms=limit.window.frees_ms(used[0].start_ms) if used else None,
    )
