"""`toolgate facts`: what agents keep, by whom, and what proves it."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import emit, more, table
from gateway.cli.place import AsJson, ConfigPath, placed_by, with_store
from gateway.codec import dump
from gateway.facts.owners import FactScope
from gateway.store.facts import Fact
from gateway.store.ports import Store

__all__ = ["facts"]

_WIDTH = 60


def facts(
    scope: Annotated[FactScope | None, typer.Option(help="Only of this scope.")] = None,
    owner: Annotated[str, typer.Option(help="Only of this run, agent, agent/session, user or team.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """List the facts that hold: whose they are, their values, who put them, and which call proves them."""

    async def work(store: Store) -> list[Fact]:
        return await store.list_facts(scope or "", owner, time.time_ns() // 1_000_000, limit)

    rows = [_row(each) for each in with_store(placed_by(config, as_json=as_json), work, as_json=as_json)]
    shown = [
        {**row, "value": _short(row["value"]), "until": row["until"] or "-", "proof": _proof(row["proof"])}
        for row in rows
    ]
    emit(
        rows, table([{key: str(value) for key, value in row.items()} for row in shown]) or ["no facts"], as_json=as_json
    )
    if len(rows) == limit:
        more(f"these are the first {limit}; there may be others: --limit {10 * limit}, or name the --owner")


def _row(fact: Fact) -> dict[str, Any]:
    return {
        "scope": fact.key.scope,
        "owner": fact.key.owner,
        "name": fact.key.name,
        "value": fact.value,
        "version": fact.version,
        "by": fact.agent if not fact.on_behalf_of else f"{fact.agent}/{fact.on_behalf_of}",
        "when": _time(fact.at_ms),
        "until": _time(fact.until_ms) if fact.until_ms else None,
        "call": fact.call_id,
        "proof": fact.proof,
    }


def _short(value: Any) -> str:
    text = dump(value).decode()
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _proof(proof: Any) -> str:
    return "-" if proof is None else f"#{proof['call']}{'' if proof['verified'] else ' (not verified)'}"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")[:19]
