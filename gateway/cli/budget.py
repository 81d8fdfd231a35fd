"""`toolgate budget`: limits, what is spent, reserved and left; where the money went, and what the record saved."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.budget.forecast import forecast
from gateway.budget.standing import Standing, standings
from gateway.cli.durations import moment_ms
from gateway.cli.output import emit, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.ledger.costs import DAY_MS, Costs, ModelTokens, costs_of, model_tokens_of
from gateway.model.limit import amount_text
from gateway.rulebook import budgets_of
from gateway.store.budgets import BudgetCounter
from gateway.store.ports import Store

__all__ = ["budget"]

_FORETOLD_DAYS: Final = 30


def budget(
    since: Annotated[str, typer.Option(help="From when costs are summed: 2026-11-17, or 24h, 30d.")] = "30d",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Show how every budget stands, what calls cost and are likely to cost, and what answers from the record saved."""
    since_ms = moment_ms(since)
    now_ms = time.time_ns() // 1_000_000
    loaded = loaded_from(config, as_json=as_json)

    async def work(store: Store) -> tuple[list[BudgetCounter], Costs, ModelTokens]:
        return await store.budget_counters(), await costs_of(store, since_ms), await model_tokens_of(store, since_ms)

    counters, costs, tokens = with_store(loaded, work, as_json=as_json)
    budgets = budgets_of(loaded.config, ())
    stands = [_stand(each) for each in standings(budgets, counters, now_ms)]
    spent = [
        {"agent": agent, "tool": tool, "unit": unit, "cost": amount_text(amount)}
        for (agent, tool, unit), amount in sorted(costs.spent.items(), key=lambda each: -each[1])
    ]
    saved = {"calls": str(costs.answered), **{unit: amount_text(amount) for unit, amount in costs.saved.items()}}
    models = [
        {"agent": agent, "model": model, "input_tokens": took, "output_tokens": gave}
        for (agent, model), (took, gave) in sorted(tokens.items(), key=lambda each: -sum(each[1]))
    ]
    coming = _coming(costs, since_ms, now_ms)
    data = {"budgets": stands, "since": since, "costs": spent, "forecast": coming, "saved_by_resume": saved}
    data["models"] = models
    emit(data, _lines(data), as_json=as_json)


def _coming(costs: Costs, since_ms: int, now_ms: int) -> list[dict[str, Any]]:
    """Return what the next days will cost, by unit, from the whole days since the first that cost anything."""
    found = []
    today = now_ms // DAY_MS
    for unit in sorted({unit for unit, _ in costs.daily}):
        first = max(min(day for other, day in costs.daily if other == unit), -(-since_ms // DAY_MS))
        coming = forecast([costs.daily[unit, day] for day in range(first, today)], _FORETOLD_DAYS)
        if coming is not None:
            amounts = {name: amount_text(getattr(coming, name)) for name in ("expected", "low", "high")}
            found.append({"unit": unit, "days": coming.days, **amounts})
    return found


def _lines(data: dict[str, Any]) -> Sequence[str]:
    saved = ", ".join(f"{amount} {unit}" for unit, amount in data["saved_by_resume"].items())
    return [
        *(table([{key: str(value or "-") for key, value in row.items()} for row in data["budgets"]]) or ["no budgets"]),
        *(["", f"Costs of the last {data['since']}:"] if data["costs"] else []),
        *table(data["costs"]),
        *(["", f"Tokens of models in the last {data['since']}, as telemetry reports them:"] if data["models"] else []),
        *table([{key: str(value) for key, value in row.items()} for row in data["models"]]),
        "",
        *(
            f"The next {each['days']} days: {each['expected']} {each['unit']}, with a likelihood of 80 % from "
            f"{each['low']} to {each['high']}"
            for each in data["forecast"]
        ),
        f"Saved by resume: {saved} (answered from the record)",
    ]


def _stand(each: Standing) -> dict[str, Any]:
    limit = each.limit
    frees = None if each.frees_ms is None else datetime.fromtimestamp(each.frees_ms / 1000, UTC)
    return {
        "scope": each.scope,
        "unit": limit.unit,
        "limit": amount_text(limit.most),
        "per": limit.window.name,
        "spent": amount_text(each.spent),
        "reserved": amount_text(each.reserved),
        "left": amount_text(each.left),
        "frees": None if frees is None else frees.isoformat(sep=" ", timespec="seconds")[:19],
    }
