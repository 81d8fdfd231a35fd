"""Ways to the same server: directly, and through the gateway by each of its doors."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.live.inside import Inside, inside
from tests.live.real.servers import Real
from tests.live.running import environment
from tests.live.speaking import ABLE, Speaker, over_http, over_stdio

__all__ = ["directly", "doors_of", "gateway_with", "through"]

EVERY = ("http-modern", "http-legacy", "stdio-modern", "stdio-legacy")
AGENT = "agent"
PATIENCE_S = 30.0


def doors_of(name: str) -> tuple[str, ...]:
    """Return the doors a server is reached by: both eras, and over stdio too where that shows something new.

    With TOOLGATE_EVERY_DOOR set, all of them, which takes twice as long.
    """
    return EVERY if name == "everything" or os.environ.get("TOOLGATE_EVERY_DOOR") else EVERY[:2]


def configuration(server: Real, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Return gateway.yaml with one copy of the server, and one endpoint with the server's own names, for each door."""
    asks = [f"*.{what}/*" for what in ("elicitation", "sampling", "roots")] if server.able else []
    return {
        "version": 1,
        "server": {"listen": "127.0.0.1:0", "store": "sqlite:///data/gateway.db"},
        "mcpServers": {
            door: {
                "command": server.at(folder)[0],
                "args": server.at(folder)[1:],
                "env": server.env_at(folder),
                "cwd": str(folder),
            }
            for door, folder in folders.items()
        },
        "agents": {AGENT: {"allow": ["*", *asks], "auth": {"token": True, "local": True}}},
        "endpoints": {door: {"servers": [door], "names": "bare"} for door in folders},
    }


@asynccontextmanager
async def gateway_with(server: Real, folders: Mapping[str, Path], home: Path) -> AsyncIterator[Inside]:
    """Run a gateway in front of a copy of the server for each of `folders`."""
    home.mkdir()
    text = json.dumps(configuration(server, folders)).replace("${", "$${")
    async with inside(home, text) as gate:
        async with asyncio.timeout(PATIENCE_S):
            while not all(gate.gateway.rules.current.catalog_at(door).tools() for door in folders):
                await asyncio.sleep(0.05)
        yield gate


@asynccontextmanager
async def directly(server: Real, folder: Path) -> AsyncIterator[Speaker]:
    """Speak to the server in the era it speaks."""
    command, env = server.at(folder), server.whole_env_at(folder)
    able = ABLE if server.able else {}
    async with over_stdio(command, modern=server.modern, capabilities=able, env=env, cwd=folder) as speaker:
        yield speaker


@asynccontextmanager
async def through(gate: Inside, door: str, *, capabilities: Mapping[str, Any]) -> AsyncIterator[Speaker]:
    """Speak to the server behind a door."""
    modern = door.endswith("modern")
    if door.startswith("http"):
        url = f"{gate.url}/{door}"
        async with over_http(url, modern=modern, token=gate.tokens[AGENT], capabilities=capabilities) as speaker:
            yield speaker
        return
    config = ["--config", str(gate.home / "gateway.yaml"), "--agent", AGENT, "--endpoint", door]
    bridge = [sys.executable, "-m", "gateway", "stdio", *config]
    async with over_stdio(bridge, modern=modern, capabilities=capabilities, env=environment()) as speaker:
        yield speaker
