"""`toolgate agents`: who is registered, who was seen, who tried; and what agents handed on to whom."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.acting import As, acting
from gateway.cli.loaded import Loaded
from gateway.cli.output import Refused, emit, fail_with, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.identity.children import Children
from gateway.identity.token_index import TokenIndex
from gateway.model.clock import SystemClock
from gateway.model.errors import IdentityFault
from gateway.store.delegations import Delegation, DelegationEnd
from gateway.store.ports import Store
from gateway.store.sightings import AgentSighting

__all__ = ["commands"]

_LIVE = "live"


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate agents`."""
    group = typer.Typer(help="The agent inventory.", no_args_is_help=True)
    group.command("list")(list_agents)
    group.command("tree")(tree)
    group.command("revoke")(revoke)
    group.callback()(_group)
    return group


def _group() -> None:
    """The agent inventory."""


def list_agents(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """List registered agents and unknown callers: last seen, client, tools used, refusals."""
    loaded = loaded_from(config, as_json=as_json)

    async def work(store: Store) -> tuple[list[AgentSighting], Mapping[str, Sequence[_Line]]]:
        return await store.agents_seen(), await _lines(store, loaded)

    sightings, below = with_store(loaded, work, as_json=as_json)
    seen = {sighting.agent: sighting for sighting in sightings}
    names = [*seen, *(name for name in loaded.config.agents if name not in seen)]
    live = {name: sum(line["standing"] == _LIVE for line in lines) for name, lines in below.items()}
    rows = [_row(name, seen.get(name), name in loaded.config.agents, live.get(name, 0)) for name in names]
    emit(rows, table([{key: _cell(value) for key, value in row.items()} for row in rows]), as_json=as_json)


def tree(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Show every agent with the identities it handed on: to whom, what, in which run, until when, and whether it holds.

    An identity whose time is over is not shown any more.
    """
    loaded = loaded_from(config, as_json=as_json)
    below = with_store(loaded, lambda store: _lines(store, loaded), as_json=as_json)
    agents = {name: agent.owner for name, agent in loaded.config.agents.items()}
    data = [
        {"agent": name, "owner": agents.get(name, ""), "children": list(below.get(name, ()))}
        for name in [*agents, *(name for name in below if name not in agents)]
    ]
    text = [line for each in data for line in _drawn(each)]
    emit(data, text or ["no agents"], as_json=as_json)


def revoke(
    child: Annotated[str, typer.Argument(help="The id of a child (tg_…), or an agent: then all its children.")],
    reason: Annotated[str, typer.Option(help="Why; kept on record.")] = "",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """End a child, and all under it; connected clients are refused within a second. The agent itself works on."""
    loaded = loaded_from(config, as_json=as_json)
    by = acting(loaded, person, as_json=as_json)

    async def work(store: Store) -> list[str]:
        children = await _children(store)
        found = [each for agent in loaded.config.agents for each in children.living(agent)]
        ended = [each for each in found if child in {each.id, "" if each.parent else each.agent}]
        now = SystemClock().now_ms()
        for each in ended:
            await store.end_delegation(DelegationEnd(each.id, each.agent, each.run_id, now, by, reason[:500]))
        return [each.id for each in ended]

    ended = with_store(loaded, work, as_json=as_json)
    if not ended and child not in loaded.config.agents:
        hint = "see who there is: toolgate agents tree"
        fail_with(Refused("unknown_child", f"there is no living child {child!r}", hint), as_json=as_json)
    emit({"revoked": ended}, [f"ended {len(ended)} and all under them: {', '.join(ended) or '-'}"], as_json=as_json)


_Line = Mapping[str, Any]


async def _children(store: Store) -> Children:
    clock = SystemClock()
    tokens = TokenIndex(store, clock)
    children = Children(store, tokens, clock)
    await tokens.refresh()
    await children.refresh()
    return children


async def _lines(store: Store, loaded: Loaded) -> Mapping[str, Sequence[_Line]]:
    """Return the unexpired children of each agent, each under the one that made it."""
    children = await _children(store)
    unexpired = children.unexpired()
    found: dict[str, list[_Line]] = {}

    def add(parent: str) -> None:
        for each in unexpired:
            if each.parent == parent:
                found.setdefault(each.agent, []).append(_line(each, _standing(children, each, loaded)))
                add(each.id)

    add("")
    return found


def _standing(children: Children, made: Delegation, loaded: Loaded) -> str:
    """Say whether a child is served, or what ended it."""
    try:
        children.identity(made, loaded.config.agents)
    except IdentityFault as fault:
        return fault.detail.partition(": ")[2]
    return _LIVE


def _line(made: Delegation, standing: str) -> _Line:
    return {
        "child": made.id,
        "name": made.name,
        "parent": made.parent,
        "to": made.to,
        "for": made.on_behalf_of,
        "scopes": list(made.scopes),
        "run": made.run_id,
        "since": _when(made.created_ms),
        "until": _when(made.expires_ms),
        "standing": standing,
    }


def _drawn(agent: Mapping[str, Any]) -> list[str]:
    owner = f" ({agent['owner']})" if agent["owner"] else ""
    lines = [f"{agent['agent']}{owner}"]
    for child in agent["children"]:
        indent = "  " * child["name"].count(":")
        standing = "" if child["standing"] == _LIVE else f"  REFUSED: {child['standing']}"
        scopes = ", ".join(child["scopes"])
        lines.append(
            f"{indent}{child['name']}  {child['child']}  {scopes}  {child['run']}  until {child['until']}{standing}"
        )
    return lines


def _row(name: str, sighting: AgentSighting | None, registered: bool, children: int) -> dict[str, object]:
    if sighting is None:
        sighting = AgentSighting(name, known=True, last_seen_ms=0)
    return {
        "agent": name,
        "status": "registered" if registered else "no longer registered" if sighting.known else "UNKNOWN",
        "last_seen": _when(sighting.last_seen_ms),
        "client": f"{sighting.client_name} {sighting.client_version}".strip(),
        "calls": sighting.calls,
        "refused": sighting.refused,
        "children": children,
        "tools": dict(sighting.tools),
    }


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{tool} ({count})" for tool, count in value.items()) or "-"
    return str(value) or "-"


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else "never"
