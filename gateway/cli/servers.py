"""The servers behind the gateway, asked directly: for pinning their schemas and for looking after their health."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.app import Home, live_definitions
from gateway.catalog.catalog import NEW, Catalog, Live, pin_new
from gateway.catalog.lock import Lock, LockError
from gateway.cli.checks import Check
from gateway.cli.loaded import Loaded, load_now
from gateway.cli.output import warn
from gateway.cli.running import running
from gateway.config import GatewayConfig
from gateway.connector.about import UNSAID, About

__all__ = ["ask_servers", "breaker_text", "pin_schemas", "probe_servers", "remedy_for", "slo_text"]

_COMMAND: Final = re.compile(r"`(toolgate [^`]+)`")
"""What a server's fault says to run."""


def ask_servers(loaded: Loaded) -> tuple[Mapping[str, Live], Mapping[str, str]]:
    """Start every configured server once; return what each offers, and why the silent ones were silent."""
    return asyncio.run(live_definitions(loaded.config, Home(loaded.path.parent), loaded.secrets))


def pin_schemas(config: Path) -> int:
    """Pin the tools of servers that gateway.lock has never seen, and say which are silent; return how many.

    Raises:
        LockError: gateway.lock cannot be read.
    """
    loaded = load_now(config)
    home = Home(loaded.path.parent)
    lock = Lock.read(home.lock)
    live, silent = ask_servers(loaded)
    for name, why in silent.items():
        warn(f"{name} does not answer, so none of its tools is pinned yet: {why}", "toolgate doctor")
    fresh = pin_new(lock, live, loaded.config.tools).deciding(loaded.config.mcpServers)
    fresh.write(home.lock)
    return sum(len(pins) for server, pins in fresh.servers.items() if server not in lock.servers)


def probe_servers(config: GatewayConfig, path: Path) -> Iterable[Check]:
    """Shake hands with every server, with the environment and the credentials it gets from the gateway."""
    loaded = load_now(path)
    yield from _found_running(loaded)
    live, silent = ask_servers(loaded)
    abouts = config.abouts()
    lock = Lock()
    try:
        lock = Lock.read(Home(loaded.path.parent).lock)
    except LockError as error:
        yield Check("gateway.lock", ok=False, message=str(error))
    tools = Catalog.build(lock, live, config.tools).tools()
    for name in config.mcpServers:
        if name in silent:
            command = _COMMAND.search(silent[name])
            fix = command[1] if command else remedy_for(config.mcpServers[name])
            fix += f"; or {words}" if (words := abouts.get(name, UNSAID).words()) else ""
            yield Check(f"server {name}", ok=False, message=silent[name] or "it did not answer", fix=fix)
            continue
        yield Check(f"server {name}", ok=True, message=f"answers with {len(live[name].definitions)} tools")
        for tool in tools:
            is_new = tool.quarantined == NEW  # as all of a server is that `toolgate up` will pin
            if tool.server == name and tool.quarantined and (name in lock.servers or not is_new):
                told, fix = f"is quarantined: {tool.quarantined}", f"toolgate schema diff {tool.name}"
                yield Check(f"tool {tool.name}", ok=is_new, message=told, fix=fix, warning=is_new)


def remedy_for(entry: Mapping[str, Any]) -> str:
    """Return what to do about a server that does not answer, by its entry."""
    look = "run its command by hand, or " if "command" in entry else ""
    if "url" in entry:
        look = "ask its url from this machine, as with curl -i, or "
    return f"{look}correct its entry under mcpServers"


def _found_running(loaded: Loaded) -> Iterable[Check]:
    """Yield what the running gateway, if there is one, found of its servers."""
    gateway = running(loaded)
    found = gateway.ask("/-/status") if gateway is not None else None
    for name, each in (found["servers"] if found is not None else {}).items():
        if each["state"] == "down":
            since = datetime.fromtimestamp(each["since_ms"] / 1000, UTC).isoformat(" ", "seconds")
            message = f"is down for the running gateway since {since}: {each['error']}"
            yield Check(f"server {name}", ok=False, message=message, fix=About.model_validate(each["about"]).words())
        elif (stands := breaker_text(each)) != "closed":
            message = f"failed so often that the running gateway leaves it alone (its breaker is {stands})"
            yield Check(f"server {name}", ok=True, message=message, warning=True)
        if text := slo_text(each.get("slo")):
            fix = About.model_validate(each["about"]).words()
            yield Check(f"server {name}", ok=True, message=text, fix=fix, warning=True)


def slo_text(slo: Mapping[str, Any] | None) -> str:
    """Return, of what `/-/status` tells of a server's objective, that it fails too much; nothing while it does not."""
    if slo is None or not slo["burning"]:
        return ""
    spans = ", ".join(f"{slo[span]['failed']} of {slo[span]['calls']} calls in {span}" for span in ("1h", "6h"))
    return f"fails too much for its objective of {100 * slo['success']:g} % ({slo['burning']}): {spans}"


def breaker_text(server: Mapping[str, Any]) -> str:
    """Return how the breaker of a server stands that `/-/status` tells of, and for how many users' credentials not."""
    stands, users = str(server["breaker"]), server["breaker_open_for"]
    return stands if stands != "closed" or not users else f"closed, but not for {users} users' credentials"
