"""`toolgate pause` and `toolgate unpause`: stop everything, a team, an agent, a server, a tool or a run."""

import time
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from gateway.catalog.lock import Lock, LockError
from gateway.catalog.names import canonical_name
from gateway.cli.acting import As, acting_on_scope
from gateway.cli.loaded import Loaded
from gateway.cli.output import Refused, carried_out, emit, fail_with, table, warn
from gateway.cli.place import AsJson, ConfigPath, home_of, placed_by, with_store
from gateway.config.model import OWN_SERVERS
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
    loaded = placed_by(config, as_json=as_json, person=person)
    if scope:
        told = _told(loaded, scope, reason, (person, as_json))

        async def stop(store: Store) -> bool:
            await store.put_pause(told)
            return not scope.startswith("run:") or await store.find_run(scope[4:]) is not None

        is_known = with_store(loaded, stop, as_json=as_json)
        doubt = _doubt(loaded, scope) if is_known else "there is no such run; list them: toolgate runs list"
        text = f"{scope} is paused; let it go on with: toolgate unpause {scope}"
        carried_out({"scope": scope, "doubt": doubt}, text, as_json=as_json)
        if doubt and not as_json:
            warn(f"nothing there is now is stopped by it: {doubt}", f"toolgate unpause {scope}")
        return

    async def work(store: Store) -> list[PauseRecord]:
        return await store.pauses()

    rows = [_row(each) for each in with_store(loaded, work, as_json=as_json)]
    emit(rows, table([{key: str(value) for key, value in row.items()} for row in rows]) or ["nothing"], as_json=as_json)


def unpause(
    scope: Scope,
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Let a scope go on."""
    loaded = placed_by(config, as_json=as_json, person=person)
    told = _told(loaded, scope, "", (person, as_json))

    async def work(store: Store) -> bool:
        kind, _, name = told.scope.partition(":")
        return await (let_go_on(store, name, told) if kind == "run" else store.end_pause(told))

    if not with_store(loaded, work, as_json=as_json):
        fail_with(Refused("not_paused", f"{scope} is not paused; see what is with: toolgate pause"), as_json=as_json)
    carried_out({"scope": scope}, f"{scope} goes on", as_json=as_json)


def _told(loaded: Loaded, scope: str, reason: str, asking: tuple[str, bool]) -> PauseRecord:
    person, as_json = asking
    try:
        scope = scope_of(scope)
    except ScopeUnknown as error:
        fail_with(Refused("scope_unknown", str(error)), as_json=as_json)
    by = acting_on_scope(loaded, person, scope, as_json=as_json)
    return PauseRecord(scope, time.time_ns() // 1_000_000, by, reason[:500])


def _doubt(loaded: Loaded, scope: str) -> str:
    """Return why a scope stops nothing that is known here, or nothing: a slip must not pass for a stop."""
    kind, _, name = scope.partition(":")
    known = _known(loaded, kind)
    stem = name.partition(".")[0] if kind == "tool" else name.partition(":")[0]  # a child is called after its agent
    if known is None or stem in OWN_SERVERS or any(fnmatchcase(each, name) or each == stem for each in known):
        return ""
    near = get_close_matches(name.replace("_", ".", 1) if kind == "tool" else name, known, 1)
    meant = f"; did you mean {kind}:{near[0]}?" if near else ""
    return f"no {kind} is called {name!r}{meant}"


def _known(loaded: Loaded, kind: str) -> list[str] | None:
    """Return what there is of a kind, or None where that cannot be told, as where the configuration does not load."""
    config, agents = loaded.config, loaded.config.agents
    if kind == "tool":
        try:
            servers = Lock.read(home_of(loaded).lock).servers
        except LockError:
            return None
        return [canonical_name(server, name) for server, pins in servers.items() for name in pins] or None
    if kind == "team":
        return sorted({team for each in agents.values() for team in each.teams}) if agents else None
    named = {"agent": [*agents], "server": [*config.mcpServers]}
    return named.get(kind) or None


def _row(each: PauseRecord) -> dict[str, object]:
    since = datetime.fromtimestamp(each.since_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
    return {"scope": each.scope, "since": since, "by": each.by, "reason": each.reason}
