"""`toolgate pause` and `toolgate unpause`: stop everything, a team, an agent, a server, a tool or a run."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.acting import As, acting_on_scope
from gateway.cli.loaded import Loaded
from gateway.cli.output import Refused, done, emit, fail_with, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.ledger.moved import let_go_on
from gateway.pause.pauses import ScopeUnknown, scope_of
from gateway.store.ports import PauseRecord, Store

__all__ = ["pause", "unpause"]

Scope = Annotated[
    str,
    typer.Argument(
        help='What to stop: all, team:NAME, agent:NAME, server:NAME, tool:PATTERN ("tool:payments.*"), run:ID.'
    ),
]


def pause(
    scope: Annotated[str, typer.Argument(help="As for unpause; without it, what is stopped is listed.")] = "",
    reason: Annotated[str, typer.Option(help="Why; shown to the agents.")] = "",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Stop a scope within a second: calls under way end, new ones are refused. Without one, list what is stopped."""
    loaded = loaded_from(config, as_json=as_json)
    if scope:
        told = _told(loaded, scope, reason, person)

        async def stop(store: Store) -> None:
            await store.put_pause(told)

        with_store(loaded, stop, as_json=as_json)
        done(f"{scope} is paused; let it go on with: toolgate unpause {scope}")
        return

    async def work(store: Store) -> list[PauseRecord]:
        return await store.pauses()

    rows = [_row(each) for each in with_store(loaded, work, as_json=as_json)]
    emit(rows, table([{key: str(value) for key, value in row.items()} for row in rows]) or ["nothing"], as_json=as_json)


def unpause(scope: Scope, person: As = "", config: ConfigPath = Path("gateway.yaml")) -> None:
    """Let a scope go on."""
    loaded = loaded_from(config)
    told = _told(loaded, scope, "", person)

    async def work(store: Store) -> bool:
        kind, _, name = told.scope.partition(":")
        return await (let_go_on(store, name, told) if kind == "run" else store.end_pause(told))

    if not with_store(loaded, work):
        fail_with(Refused("not_paused", f"{scope} is not paused; see what is with: toolgate pause"))
    done(f"{scope} goes on")


def _told(loaded: Loaded, scope: str, reason: str, person: str) -> PauseRecord:
    try:
        scope = scope_of(scope)
    except ScopeUnknown as error:
        fail_with(Refused("scope_unknown", str(error)))
    return PauseRecord(scope, time.time_ns() // 1_000_000, acting_on_scope(loaded, person, scope), reason[:500])


def _row(each: PauseRecord) -> dict[str, object]:
    since = datetime.fromtimestamp(each.since_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
    return {"scope": each.scope, "since": since, "by": each.by, "reason": each.reason}
