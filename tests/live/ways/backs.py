"""The servers behind the gateway, of both eras and on both transports, and their notes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.live.running import PATH, ROOT, environment

__all__ = ["AGENT", "BACKS", "Back", "backs", "configuration"]

BACKS = ("legacy-stdio", "modern-stdio", "legacy-http", "modern-http")
AGENT = "agent"
PROGRAM = [sys.executable, "-m", "tests.live.ways.server"]


class Back:
    """One server's folder."""

    def __init__(self, name: str, folder: Path, section: Mapping[str, Any]) -> None:
        self.name = name
        self.folder = folder
        self.section = section

    def notes(self, name: str) -> list[str]:
        """Return what the server did for a call, in order."""
        path = self.folder / "effects.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [what for what, of in map(json.loads, lines) if of == name]

    def go(self, name: str) -> None:
        """Let a call finish."""
        (self.folder / f"go-{name}").touch()

    async def until(self, what: str, name: str, patience_s: float = 10.0) -> None:
        """Wait until the server has done something for a call."""
        try:
            async with asyncio.timeout(patience_s):
                while what not in self.notes(name):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{self.name} never {what} {name}; it did {self.notes(name)}") from None


@contextmanager
def backs(folder: Path, *names: str) -> Iterator[dict[str, Back]]:
    """Make the servers' folders, and run those that are reached over HTTP."""
    running: list[subprocess.Popen[str]] = []
    found = {}
    try:
        for name in names or BACKS:
            here = folder / name
            here.mkdir()
            era, _, transport = name.partition("-")
            command = [*PROGRAM, str(here), era]
            section: dict[str, Any] = {"command": command[0], "args": [*command[1:], "--stdio"]}
            section |= {"env": {"PYTHONPATH": PATH}, "cwd": str(ROOT)}
            if transport == "http":
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
                running.append(process)
                assert process.stdout is not None
                section = {"type": "http", "url": process.stdout.readline().strip()}
            found[name] = Back(name, here, section)
        yield found
    finally:
        for process in running:
            process.terminate()
            process.communicate()


def configuration(servers: Mapping[str, Back]) -> dict[str, Any]:
    """Return gateway.yaml: each server behind an endpoint of its name. `work` reads, every other tool has an effect."""
    return {
        "version": 1,
        "server": {"listen": "127.0.0.1:0", "store": "sqlite:///data/gateway.db"},
        "mcpServers": {name: back.section for name, back in servers.items()},
        "tools": {f"{name}.work": {"effect": "read"} for name in servers},
        "agents": {
            AGENT: {
                "allow": ["*", "*.elicitation/*", "*.sampling/*", "*.roots/*"],
                "auth": {"token": True, "local": True},
            }
        },
        "endpoints": {name: {"servers": [name], "names": "bare"} for name in servers},
    }
