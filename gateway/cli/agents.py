"""`toolgate agents`: who is registered, who was seen, who tried without being known."""

from datetime import UTC, datetime
from pathlib import Path

import typer

from gateway.cli.output import emit, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.store.ports import AgentSighting, Store

__all__ = ["commands"]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate agents`."""
    group = typer.Typer(help="The agent inventory.", no_args_is_help=True)
    group.command("list")(list_agents)
    group.callback()(_group)
    return group


def _group() -> None:
    """The agent inventory."""


def list_agents(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """List registered agents and unknown callers: last seen, client, tools used, refusals."""
    loaded = loaded_from(config, as_json=as_json)

    async def work(store: Store) -> list[AgentSighting]:
        return await store.agents_seen()

    seen = {sighting.agent: sighting for sighting in with_store(loaded, work, as_json=as_json)}
    names = [*seen, *(name for name in loaded.config.agents if name not in seen)]
    rows = [_row(name, seen.get(name), name in loaded.config.agents) for name in names]
    emit(rows, table([{key: _cell(value) for key, value in row.items()} for row in rows]), as_json=as_json)


def _row(name: str, sighting: AgentSighting | None, registered: bool) -> dict[str, object]:
    if sighting is None:
        sighting = AgentSighting(name, known=True, last_seen_ms=0)
    return {
        "agent": name,
        "status": "registered" if registered else "no longer registered" if sighting.known else "UNKNOWN",
        "last_seen": _when(sighting.last_seen_ms),
        "client": f"{sighting.client_name} {sighting.client_version}".strip(),
        "calls": sighting.calls,
        "refused": sighting.refused,
        "tools": dict(sighting.tools),
    }


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{tool} ({count})" for tool, count in value.items()) or "-"
    return str(value) or "-"


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else "never"
