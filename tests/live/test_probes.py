"""A server that is killed is found down, and it is on record, though nobody calls it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.store.ports import EventFilter
from tests.live.inside import Inside, inside
from tests.live.raw import probes
from tests.live.running import ROOT, environment


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.05)


async def told(gate: Inside) -> list[dict[str, Any]]:
    events = [json.loads(event.body) async for event in gate.gateway.store.events(EventFilter())]
    return [event for event in events if event.get("server") == "shop"]


async def test_a_killed_server_is_down_and_on_record_without_a_call(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    command = [sys.executable, str(ROOT / "tests/faults/http_server.py"), "modern", str(tmp_path / "books")]
    server = subprocess.Popen(command, env=environment(), cwd=os.fspath(tmp_path))
    try:
        await until((tmp_path / "books/modern").exists)
        url = (tmp_path / "books/modern").read_text(encoding="utf-8")
        section = f'  shop: {{ type: http, url: "{url}" }}\n'
        async with inside(tmp_path, probes(section, more="probes: { shop: { every: 1s } }")) as gate:

            def shop() -> dict[str, Any]:
                return dict(gate.gateway.status()["servers"]["shop"])

            await until(lambda: shop()["probe"] is not None)
            assert (shop()["state"], shop()["probe"]["error"], await told(gate)) == ("up", "", [])
            server.kill()
            await until(lambda: shop()["state"] == "down")
            assert shop()["error"]
            async with asyncio.timeout(60):
                while not await told(gate):
                    await asyncio.sleep(0.05)
            [event] = await told(gate)
            assert (event["what"], bool(event["reason"])) == ("server down", True)
    finally:
        server.kill()
        server.wait()
