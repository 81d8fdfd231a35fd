"""What the calls on record cost by the prices they were made at, and what answers from the record saved."""

from collections import Counter
from dataclasses import dataclass, field

from gateway.ledger.trace import CallLine, call_lines
from gateway.model.limit import millionths
from gateway.store.ports import EventFilter, Ledger

__all__ = ["Costs", "costs_of"]

_EVERYTHING = 2**31 - 1


@dataclass(slots=True)
class Costs:
    """Amounts in millionths: `spent` by agent, tool and unit; `saved` by unit; `answered` calls from the record."""

    spent: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    saved: Counter[str] = field(default_factory=Counter)
    answered: int = 0


async def costs_of(ledger: Ledger, since_ms: int = 0) -> Costs:
    """Return what the calls that started since then cost and saved; what failed or is in doubt is in neither."""
    costs = Costs()
    async for line in call_lines(ledger, EventFilter(since_ms=since_ms, limit=_EVERYTHING)):
        if line.outcome != "succeeded" or _is_error(line):
            continue
        costs.answered += bool(line.replayed_from)
        for unit, text in line.asked.get("cost", {}).items():
            amount = millionths(text) or 0
            if line.replayed_from:
                costs.saved[unit] += amount
            else:
                costs.spent[line.agent, line.tool, unit] += amount
    return costs


def _is_error(line: CallLine) -> bool:
    result = line.ended.get("result")
    return isinstance(result, dict) and result.get("isError") is True
