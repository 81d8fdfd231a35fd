"""A server that dies, hangs, floods or changes its mind all the time harms nobody else behind the same gateway."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.live.raw import ECHO
from tests.live.running import ROOT, Running
from tests.live.speaking import Speaker, over_http

HERE = Path(__file__).parent
HABITS = {"die": "unavailable", "hang": "timeout", "change": "tool_quarantined", "flood": "ok"}
"""What a call of the rowdy server comes to, for each of its habits."""

CALLS = 100
ROUNDS = 4
SLOWER = 5.0
"""How many times slower another server's calls may get: the rowdy server itself takes the machine's time too."""
LARGER = 1.3
"""How many times more memory the gateway may take than before."""


class House:
    """A gateway with a good server and a rowdy one for each of HABITS."""

    def __init__(self, home: Path) -> None:
        self.home = home
        good = {"PROBE_DIR": str(home), "PROBE_ERA": "legacy", "PYTHONPATH": str(ROOT)}
        (home / "tools.json").write_text(json.dumps(ECHO), encoding="utf-8")
        config: dict[str, Any] = {
            "version": 1,
            "server": {"listen": "127.0.0.1:0", "store": "sqlite:///data/gateway.db"},
            "mcpServers": {
                "good": {"command": sys.executable, "args": [str(ROOT / "tests/live/probe_server.py")], "env": good},
                **{habit: self._rowdy(habit) for habit in HABITS},
            },
            "tools": {f"{habit}.act": {"effect": "read", "deadline": 1} for habit in HABITS},
            "agents": {"agent": {"allow": ["*"]}},
        }
        (home / "gateway.yaml").write_text(json.dumps(config), encoding="utf-8")
        self.running = Running(home).start()
        self.token = self.running.token("agent")

    def _rowdy(self, habit: str) -> dict[str, Any]:
        (self.home / habit).mkdir()
        return {"command": sys.executable, "args": [str(HERE / "rowdy.py"), str(self.home / habit), habit]}

    @property
    def memory(self) -> int:
        """The gateway's resident memory, in KiB."""
        assert self.running.process is not None
        status = Path(f"/proc/{self.running.process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    @asynccontextmanager
    async def speaker(self, *, modern: bool) -> AsyncIterator[Speaker]:
        async with over_http(f"{self.running.url}/mcp", modern=modern, token=self.token) as speaker:
            yield speaker


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.running.stop()


async def good_calls(speaker: Speaker) -> float:
    """Call the good server, one call after the other; all must succeed. Return how long the middle one took."""
    took = []
    for number in range(CALLS):
        begun = time.perf_counter()
        answer = await speaker.call("good_echo", {"n": number})
        took.append(time.perf_counter() - begun)
        assert answer["result"]["structuredContent"] == {"got": {"n": number}}
    return median(took)


async def provoke(speaker: Speaker, habit: str, came_of_it: Counter[str]) -> None:
    """Call a rowdy server again and again, and count what comes of it."""
    while True:
        for answer in await asyncio.gather(*(speaker.call(f"{habit}_act") for _ in range(5))):
            refusal = answer["result"].get("_meta", {}).get("io.toolgate/refusal", {})
            came_of_it[refusal.get("code", "ok")] += 1
        await asyncio.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_rowdy_servers_one_after_the_other_and_then_together_harm_no_other(house: House) -> None:
    async with house.speaker(modern=True) as speaker, house.speaker(modern=False) as other:
        await speaker.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        await good_calls(speaker)
        before, memory = median([await good_calls(speaker) for _ in range(3)]), house.memory
        for habit, outcome in HABITS.items():  # whoever has begun goes on
            came_of_it: Counter[str] = Counter()
            (house.home / habit / "go").touch()
            provoking = asyncio.ensure_future(provoke(other, habit, came_of_it))
            during = [await good_calls(speaker) for _ in range(ROUNDS)]
            while outcome not in came_of_it and len(during) < 100:
                during.append(await good_calls(speaker))
            provoking.cancel()
            await asyncio.gather(provoking, return_exceptions=True)
            assert outcome in came_of_it, came_of_it
            assert median(during) < before * SLOWER, f"{habit}: {before * 1000:.1f} ms before, {during} s during"
            assert house.memory < memory * LARGER, habit
        assert len(speaker.of("tools/list_changed")) < 50  # told of, but not of every single one
