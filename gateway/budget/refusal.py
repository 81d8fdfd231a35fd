"""What an agent is told whose call no budget has enough left for."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from gateway.model.errors import LimitFault
from gateway.model.limit import MEASURED, amount_text, window_from
from gateway.store.budgets import Shortage

__all__ = ["exceeded", "frees_ms", "scope_text"]


def exceeded(short: Sequence[Shortage], now_ms: int) -> LimitFault:
    """Return the refusal: which budget, how much is left, when there is enough; of several the one that frees last."""
    when = [(frees_ms(each), each) for each in short]
    frees, worst = max(when, key=lambda each: (each[0] is None, each[0] or 0))
    charge = worst.charge
    scope, unit, window = charge.key.rsplit("|", 2)
    used = sum(counter.used for counter in worst.counters)
    left = max(charge.most - used, 0)
    every = f" per {window}" if window else ""
    needed = "" if unit in MEASURED else f", this call needs {amount_text(charge.needs)}"
    text = (
        f"The budget of {scope_text(scope)} is {amount_text(charge.most)} {unit}{every}: {amount_text(left)} left"
        f"{needed}. Nothing was done. {_outlook(frees, charge.needs > charge.most)}"
    )
    told: dict[str, Any] = {
        "scope": scope,
        "unit": unit,
        "window": window,
        "limit": amount_text(charge.most),
        "left": amount_text(left),
        "needs": amount_text(charge.needs),
        "freesAt": None if frees is None else _moment(frees),
    }
    retry = None if frees is None else float(-(min(now_ms - frees, 0) // 1000))  # whole seconds, never early
    fault = LimitFault(text, code="budget_exceeded", retry_after_s=retry, told={"budget": told})
    fault.retryable = frees is not None
    return fault


def frees_ms(short: Shortage) -> int | None:
    """Return when enough of a budget is free again, if nothing more is used; None for never by itself."""
    charge = short.charge
    if charge.needs > charge.most:
        return None
    window = window_from(charge.key.rpartition("|")[2])
    over = sum(counter.used for counter in short.counters) + charge.needs - charge.most
    freed = accumulate(counter.used for counter in short.counters)
    return next(
        window.frees_ms(counter.start_ms)
        for counter, by_then in zip(short.counters, freed, strict=True)
        if by_then >= over
    )


def scope_text(scope: str) -> str:
    """Return what is limited, in words."""
    kind, _, name = scope.partition(":")
    if kind == "policy":
        return f"the policies for {name}"
    return f"{kind} {name}" if name else "the organisation"


def _outlook(frees: int | None, too_large: bool) -> str:
    if too_large:
        return "It is more than the whole budget: make a smaller call, or ask the operator for a larger budget."
    if frees is None:
        return "It does not renew: ask the operator of the gateway for more."
    return f"There is enough again at {_moment(frees)}, or ask the operator of the gateway for more."


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
