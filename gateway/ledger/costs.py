"""What calls on record cost by the prices they were made at, what answers from the record saved, what models took."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.ledger.trace import CallLine, call_lines
from gateway.model.limit import millionths
from gateway.store.bodies import load
from gateway.store.ports import EventFilter, EventKind, Ledger

__all__ = ["DAY_MS", "REPORTS", "Costs", "ModelTokens", "costs_of", "model_tokens_of", "models_in"]

REPORTS: Final = "gateway.usage"
"""What reports of models' tokens have in the place of a tool."""

ModelTokens = Mapping[tuple[str, str], tuple[int, int]]
"""Tokens in and out, by agent and model."""

DAY_MS: Final = 24 * 3600 * 1000
_EVERYTHING: Final = 2**31 - 1


class _Usage(Protocol):
    """What one call of a model took."""

    @property
    def model(self) -> str: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...


@dataclass(slots=True)
class Costs:
    """Amounts in millionths: `spent` by agent, tool and unit, `daily` by unit and day; `saved` by unit.

    A day is the number of days since 1970 (UTC). `answered` counts the calls from the record.
    """

    spent: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    daily: Counter[tuple[str, int]] = field(default_factory=Counter)
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
                costs.daily[unit, line.at_ms // DAY_MS] += amount
    return costs


def models_in(usage: Iterable[_Usage]) -> Mapping[str, tuple[int, int]]:
    """Return the tokens in and out of each model, as a report's event says them."""
    found: dict[str, tuple[int, int]] = {}
    for each in usage:
        took, gave = found.get(each.model, (0, 0))
        found[each.model] = (took + each.input_tokens, gave + each.output_tokens)
    return found


async def model_tokens_of(ledger: Ledger, since_ms: int = 0) -> ModelTokens:
    """Return the tokens in and out by agent and model that telemetry reported since then."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    async for event in ledger.events(EventFilter(tool=REPORTS, since_ms=since_ms, limit=_EVERYTHING)):
        if event.kind is EventKind.USAGE_REPORTED:
            for model, (took, gave) in load(event.body.encode())["models"].items():
                before = found.get((event.agent, model), (0, 0))
                found[event.agent, model] = (before[0] + took, before[1] + gave)
    return found


def _is_error(line: CallLine) -> bool:
    result = line.ended.get("result")
    return isinstance(result, dict) and result.get("isError") is True
