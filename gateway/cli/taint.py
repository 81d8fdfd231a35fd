"""`toolgate runs taint` and `clear-taint`: what follows a run and its agent, and who says that it is harmless."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.acting import As, acting_on_run
from gateway.cli.output import Refused, carried_out, emit, fail_with, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.store.ports import Store
from gateway.store.taints import Clearing, Taint

__all__ = ["add_commands"]

RunId = Annotated[str, typer.Argument(help="The run's id.")]
_WHY = 500


def add_commands(group: typer.Typer) -> None:
    """Add the commands about taint to `toolgate runs`."""
    group.command("taint")(show_taint)
    group.command("clear-taint")(clear)


def show_taint(run: RunId, config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Show the labels of what a run has read, and of what its agent has read lately in any run."""

    async def work(store: Store) -> Taint | None:
        owner = await _owner(store, run)
        return None if owner is None else await store.taint(run, *owner)

    found = with_store(loaded_from(config, as_json=as_json), work, as_json=as_json)
    if found is None:
        fail_with(_unknown(run), as_json=as_json)
    rows = [
        {"label": label, "run": _time(found.run.get(label)), "agent": _time(found.principal.get(label))}
        for label in sorted({*found.run, *found.principal})
    ]
    data = {"run": dict(found.run), "principal": dict(found.principal)}
    emit(data, table(rows) or ["nothing that policies would mind was read"], as_json=as_json)


def clear(
    run: RunId,
    why: Annotated[str, typer.Option("--why", "--reason", help="Why it is harmless; kept on record.")],
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Take responsibility for what a run has read: it follows neither the run nor its agent any longer."""
    loaded = loaded_from(config, as_json=as_json)
    by, now = acting_on_run(loaded, person, "settle", run, as_json=as_json), time.time_ns() // 1_000_000

    async def work(store: Store) -> bool | None:
        owner = await _owner(store, run)
        return None if owner is None else await store.clear_taint(Clearing(run, *owner, now, by, why[:_WHY]))

    cleared = with_store(loaded, work, as_json=as_json)
    if cleared is None:
        fail_with(_unknown(run), as_json=as_json)
    if not cleared:
        fail_with(Refused("not_tainted", f"nothing follows {run} or its agent"), as_json=as_json)
    text = f"nothing that was read follows {run} or its agent any longer; a running gateway knows within a second"
    carried_out({"run": run}, text, as_json=as_json)


async def _owner(store: Store, run: str) -> tuple[str, str] | None:
    """Return the agent and the user of a run."""
    found = await store.find_run(run)
    if found is None:
        return None
    agent, _, user = found.owner.partition("/")
    return agent, user


def _unknown(run: str) -> Refused:
    return Refused("unknown_run", f"there is no run {run!r}", "list them: toolgate runs list")


def _time(at_ms: Any) -> str:
    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")[:19]
