"""`toolgate schema`: what is pinned, what has drifted, and a person's approval."""

import json
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import Home
from gateway.catalog.catalog import Catalog, Live, pin_new
from gateway.catalog.drift import changes
from gateway.catalog.lock import Lock, LockError, Pin
from gateway.catalog.names import canonical_name
from gateway.catalog.screening import screen
from gateway.catalog.versions import Contracts, Held, contracts, held_at
from gateway.cli.acting import As, acting
from gateway.cli.loaded import Loaded
from gateway.cli.output import FAILED, Refused, done, emit, fail_with, say, table
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, with_store
from gateway.cli.servers import ask_servers
from gateway.cli.shapes import shapes
from gateway.config import GatewayConfig
from gateway.model.clock import SystemClock
from gateway.store.ports import EventKind, Record, Store

__all__ = ["commands"]

OneTool = Annotated[str, typer.Argument(help="A tool, such as payments.pay; all when left out.")]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate schema`."""
    group = typer.Typer(help="Pinned schemas: gateway.lock.", no_args_is_help=True)
    group.command()(lock)
    group.command()(diff)
    group.command()(approve)
    group.command()(versions)
    group.command()(forget)
    group.command()(shapes)
    return group


def lock(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail when a tool has drifted.")] = False,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Pin the tools of servers that gateway.lock has never seen; with --check, fail on any drift."""
    loaded = loaded_from(config, as_json=as_json)
    home, live = home_of(loaded), _live(loaded, as_json)
    pinned = _lock(home, as_json)
    found = {**_drift(pinned, live), **_unspeakable(loaded.config, pinned, live)}
    if check:
        lines = [f"{tool}: {what}" for tool, what in found.items()] or ["gateway.lock: no drift"]
        emit({"drift": found}, lines, as_json=as_json)
        if found:
            raise typer.Exit(FAILED)
        return
    fresh = pin_new(pinned, live, loaded.config.tools).deciding(live)
    fresh.write(home.lock)
    added = sum(len(pins) for server, pins in fresh.servers.items() if server not in pinned.servers)
    emit({"pinned": added, "drift": found}, [f"pinned {added} tool(s) in {home.lock.name}"], as_json=as_json)


def diff(tool: OneTool = "", config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Show what changed between the pinned and the live definitions, gravest first."""
    loaded = loaded_from(config, as_json=as_json)
    pinned, live = _lock(home_of(loaded), as_json), _live(loaded, as_json)
    found = {}
    for server, name, definition in _offered(live):
        pin = pinned.servers.get(server, {}).get(name)
        if not tool or tool == canonical_name(server, name):
            found[canonical_name(server, name)] = _differences(pin, definition)
    found = {name: what for name, what in found.items() if what}
    lines = [line for name, what in found.items() for line in (name, *(f"  {each}" for each in what))]
    emit(found, lines or ["no drift"], as_json=as_json)


def approve(
    tool: Annotated[str, typer.Argument(help='The tool to accept as it is now, or a pattern such as "payments.*".')],
    config: ConfigPath = Path("gateway.yaml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the version before, for agents that are held at it.")
    ] = False,
    person: As = "",
) -> None:
    """Accept a drifted, new or unreviewed tool as it is now, hints and all: from now on policies go by its hints."""
    loaded = loaded_from(config)
    by = acting(loaded, person)
    home = home_of(loaded)
    pinned, live = _lock(home, False).begun_with(loaded.config.mcpServers), _live(loaded, False)
    if _is_bare(tool, live):
        _approve_bare(loaded, pinned, tool, (by, not yes))
        return
    accepted: dict[str, Pin] = {}
    for server, name, definition in _meant(tool, live):
        called = canonical_name(server, name)
        old = pinned.servers.get(server, {}).get(name)
        accepted[called] = pin = _accepted(called, old, definition, ask=not yes)
        pinned = pinned.with_server(server, {**pinned.servers.get(server, {}), name: pin})
        if keep and old is not None and old.version != pin.version:
            pinned = pinned.keeping(server, name, old)
        if all(pin.reviewed for pin in pinned.servers[server].values()):
            pinned = pinned.deciding([server])
    pinned.write(home.lock)
    with_store(loaded, lambda store: _note(store, accepted, by))
    for called, pin in accepted.items():
        done(f"{called} is version {pin.version} now; a running gateway goes by it at once")


def _is_bare(pattern: str, live: Mapping[str, Live]) -> bool:
    """Tell whether a whole server is meant that offers no tools: prompts, perhaps, or documents."""
    server = pattern.removesuffix(".*")
    return server != pattern and server in live and not live[server].definitions


def _approve_bare(loaded: Loaded, pinned: Lock, pattern: str, deed: tuple[str, bool]) -> None:
    by, ask = deed
    if ask and not typer.confirm(f"Accept {pattern}, which has no tools?"):
        raise typer.Exit(FAILED)
    server = pattern.removesuffix(".*")
    pinned.with_server(server, pinned.servers.get(server, {})).deciding([server]).write(home_of(loaded).lock)
    body = {"what": "server approved", "by": by}
    told = Record("", SystemClock().now_ms(), "", "", "", pattern, body, EventKind.ADMIN)
    with_store(loaded, lambda store: store.record(told))
    done(f"{server} is decided about; a running gateway goes by it at once")


def _accepted(called: str, old: Pin | None, definition: Mapping[str, object], *, ask: bool) -> Pin:
    """Show a person what they are about to accept, and return its pin once they do."""
    if hostile := screen(definition):
        fail_with(Refused("hostile", f"{called} cannot be approved: {hostile}"))
    for line in _differences(old, definition) or ["nothing has changed since it was pinned"]:
        say(f"  {line}")
    say(f"  its hints: {json.dumps(definition.get('annotations') or {})}")
    if ask and not typer.confirm(f"Accept {called} as it is now?"):
        raise typer.Exit(FAILED)
    fresh = Pin.of(definition, effect=old.effect if old else None, reviewed=True)
    if old is None:
        return fresh
    return replace(fresh, version=old.version if old.digest == fresh.digest else old.version + 1)


def versions(tool: OneTool = "", config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Show every version of the tools in gateway.lock, and which agents are held at which."""
    loaded = loaded_from(config, as_json=as_json)
    pinned = _lock(home_of(loaded), as_json)
    held, spoken = _spoken(loaded.config, pinned, {})
    found = [
        {
            "tool": canonical_name(server, name),
            "version": pin.version,
            "present": pin is present,
            "digest": pin.digest,
            "agents": _held_at(held, canonical_name(server, name), pin.version),
        }
        for server, pins in sorted(pinned.servers.items())
        for name, present in sorted(pins.items())
        for pin in (present, *pinned.kept.get(server, {}).get(name, {}).values())
        if tool in {"", canonical_name(server, name)}
    ]
    refused = {
        f"{agent}: {name}@{contract.version}": contract.broken
        for agent, contracts_ in sorted(spoken.items())
        for name, contract in sorted(contracts_.items())
        if contract.broken and tool in {"", name}
    }
    lines = [
        *table([_version_row(each) for each in found]),
        *(f"refused: {who}: {why}" for who, why in refused.items()),
    ]
    emit({"versions": found, "refused": refused}, lines or ["gateway.lock pins nothing"], as_json=as_json)


def _version_row(each: Mapping[str, Any]) -> dict[str, str]:
    return {
        "tool": f"{each['tool']}@{each['version']}",
        "is": "present" if each["present"] else "kept",
        "digest": each["digest"][:19],
        "held": ", ".join(each["agents"]) or "-",
    }


def forget(
    version: Annotated[str, typer.Argument(help="The version to keep no longer, such as payments.pay@1.")],
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
) -> None:
    """Keep a version no longer. Agents that are held at it are refused from then on."""
    loaded = loaded_from(config)
    by = acting(loaded, person)
    home, (called, _, number) = home_of(loaded), version.rpartition("@")
    pinned = _lock(home, False)
    kept = [
        (server, name, pin)
        for server, tools in pinned.kept.items()
        for name, pins in tools.items()
        for pin in pins.values()
        if (canonical_name(server, name), str(pin.version)) == (called, number)
    ]
    if not kept:
        fail_with(Refused("unknown_version", f"gateway.lock keeps no {version!r}", "toolgate schema versions"))
    server, name, pin = kept[0]
    pinned.forgetting(server, name, pin.version).write(home.lock)
    with_store(loaded, lambda store: _note_one(store, called, pin, ("schema version forgotten", by)))
    done(f"{version} is kept no longer; a running gateway goes by it at once")


def _held_at(held: Held, tool: str, version: int) -> list[str]:
    return sorted(agent for agent, versions in held.items() if versions.get(tool) == version)


def _spoken(config: GatewayConfig, pinned: Lock, live: Mapping[str, Live]) -> tuple[Held, Contracts]:
    catalog = Catalog.pinned(pinned, live, config.tools)
    held = held_at({name: agent.teams for name, agent in config.agents.items()}, catalog, config.tools)
    return held, contracts(held, catalog, pinned, config.tools)


def _unspeakable(config: GatewayConfig, pinned: Lock, live: Mapping[str, Live]) -> dict[str, str]:
    """Return the versions that agents are held at and cannot be spoken with in, and why."""
    _, spoken = _spoken(config, pinned, live)
    told = [(name, contract) for by_tool in spoken.values() for name, contract in by_tool.items()]
    return {f"{name}@{contract.version}": contract.broken for name, contract in told if contract.broken}


async def _note(store: Store, accepted: Mapping[str, Pin], by: str) -> None:
    for tool, pin in accepted.items():
        await _note_one(store, tool, pin, ("schema approved", by))


async def _note_one(store: Store, tool: str, pin: Pin, deed: tuple[str, str]) -> None:
    what, by = deed
    body = {"what": what, "version": pin.version, "digest": pin.digest, "by": by}
    await store.record(Record("", SystemClock().now_ms(), "", "", "", tool, body, EventKind.ADMIN))


def _lock(home: Home, as_json: bool) -> Lock:
    try:
        return Lock.read(home.lock)
    except LockError as error:
        fail_with(Refused("lock", str(error)), as_json=as_json)


def _live(loaded: Loaded, as_json: bool) -> Mapping[str, Live]:
    live, silent = ask_servers(loaded)
    if silent:
        told = "; ".join(f"{name}: {why}" for name, why in silent.items())
        fail_with(Refused("unavailable", f"these servers did not answer: {told}", "toolgate doctor"), as_json=as_json)
    return live


def _offered(live: Mapping[str, Live]) -> list[tuple[str, str, Mapping[str, object]]]:
    return [
        (server, str(definition.get("name")), definition)
        for server, answer in sorted(live.items())
        for definition in answer.definitions
    ]


def _drift(pinned: Lock, live: Mapping[str, Live]) -> dict[str, str]:
    found = {}
    for server, name, definition in _offered(live):
        if server in pinned.servers and (what := _differences(pinned.servers[server].get(name), definition)):
            found[canonical_name(server, name)] = what[0]
    offered = {(server, name) for server, name, _ in _offered(live)}
    for server, pins in pinned.servers.items():
        found.update({canonical_name(server, name): "vanished" for name in pins if (server, name) not in offered})
    return found


def _differences(pin: Pin | None, definition: Mapping[str, object]) -> list[str]:
    if pin is None:
        return ["new: nobody has approved it yet"]
    return [
        f"{change.severity.name.lower()} {change.path}: {change.what}" for change in changes(pin.definition, definition)
    ]


def _meant(tool: str, live: Mapping[str, Live]) -> list[tuple[str, str, Mapping[str, object]]]:
    """Return the tools that a name or a pattern means; none is a mistake."""
    found = [each for each in _offered(live) if fnmatchcase(canonical_name(each[0], each[1]), tool)]
    if not found:
        fail_with(Refused("unknown_tool", f"no server offers {tool!r}", "toolgate status lists the servers"))
    return found
