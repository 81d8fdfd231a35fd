"""The gateway dies at every point of a call: what is promised then, and what the server really did."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.doubt.till import Till, till
from tests.live.raw import Answer, Peer
from tests.live.running import ROOT, Running, environment

TOOLS = ("read", "read_found", "put", "put_found", "pay", "pay_found")
POINTS = ("before-send", "after-send", "after-effect", "after-answer", "after-record")
CONFIG = """version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }}
mcpServers:
  till: {{ connector: till, base_url: "{url}", folder: "{folder}" }}
tools:
  till.pay: {{ accept_irreversible: true }}
  till.pay_found: {{ accept_irreversible: true }}
agents:
  clerk: {{ owner: o@acme.example, auth: {{ token: true }}, allow: ["till.*"] }}
"""


class House:
    """A gateway in front of a till."""

    def __init__(self, home: Path, served: Till) -> None:
        self.till = served
        plugins = home / "plugins" / "till-1.dist-info"
        plugins.mkdir(parents=True)
        (plugins / "METADATA").write_text("Metadata-Version: 2.1\nName: till\nVersion: 1\n", encoding="utf-8")
        points = "[gateway.connectors]\ntill = tests.fixtures.till_connector:Till\n"
        (plugins / "entry_points.txt").write_text(points, encoding="utf-8")
        (home / "gateway.yaml").write_text(CONFIG.format(url=served.url, folder=served.folder), encoding="utf-8")
        served.stop_at("nowhere")
        self.running = Running(home, environment(PYTHONPATH=f"{ROOT}:{plugins.parent}")).start()
        self.token = self.running.token("clerk")

    async def call(self, tool: str, ref: str, attempt: str) -> Answer:
        extra = {"Toolgate-Run": ref, "Toolgate-Attempt": attempt}
        return await Peer(self.running.url, self.token, extra=extra).call(f"till.{tool}", {"ref": ref})

    async def killed_at(self, point: str) -> dict[str, str]:
        """Kill the gateway while a call of every tool is at a point; return what each was answered, if it was."""
        self.till.stop_at(point)
        calls = {tool: asyncio.ensure_future(self.call(tool, point, "first")) for tool in TOOLS}
        if point == "after-record":
            told = {tool: str((await call).code) for tool, call in calls.items()}
        else:
            await self._all_at(point)
            told = {}
        await asyncio.to_thread(self.running.kill)
        await asyncio.gather(*calls.values(), return_exceptions=True)
        self.till.stop_at("nowhere")
        self.till.go.set()
        return told

    async def _all_at(self, point: str) -> None:
        give_up = time.monotonic() + 30
        while not all((self.till.folder / f"{point}.{tool}").exists() for tool in TOOLS):
            assert time.monotonic() < give_up, [path.name for path in self.till.folder.iterdir()]
            await asyncio.sleep(0.02)

    async def again(self, point: str) -> dict[str, Any]:
        """Start anew, and have an agent that starts anew too make the same calls; return how each is answered."""
        while point in ("after-send", "after-effect") and not all(self.till.effects(tool, point) for tool in TOOLS[2:]):
            await asyncio.sleep(0.02)  # what was sent is done, though nobody waits for it any more
        await asyncio.to_thread(self.running.start)
        return {tool: await self.call(tool, point, "second") for tool in TOOLS}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home: Path = tmp_path_factory.mktemp("doubt")
    (home / "till").mkdir()
    with till(home / "till") as served:
        made = House(home, served)
        yield made
        made.running.stop()


@pytest.mark.parametrize("point", POINTS)
async def test_killed_anywhere_every_effect_happens_once_or_is_told_to_be_in_doubt(house: House, point: str) -> None:
    told = await house.killed_at(point)
    assert set(told.values()) <= {"ok"}
    answers = await house.again(point)
    codes = {tool: answer.code for tool, answer in answers.items()}
    effects = {tool: house.till.effects(tool, point) for tool in TOOLS}
    is_sent, is_recorded = point != "before-send", point == "after-record"
    # Nobody can know what became of a payment that has neither a key nor a look-up: it is never repeated.
    assert codes == dict.fromkeys(TOOLS, "ok") | ({} if is_recorded else {"pay": "outcome_unknown"})
    assert effects == {"read": 0, "read_found": 0, "put": 1, "put_found": 1, "pay": int(is_sent), "pay_found": 1}
    replayed = {tool: "io.toolgate/replayed-from" in answer.result.get("_meta", {}) for tool, answer in answers.items()}
    if is_sent:  # else the gateway or the agent makes what was found not to have happened, whichever comes first
        assert replayed == dict.fromkeys(TOOLS, True) | {
            "read": is_recorded,
            "read_found": is_recorded,
            "pay": is_recorded,
        }
    receipts = {
        tool: answers[tool].result["structuredContent"]["receipt"] for tool in ("put", "put_found", "pay_found")
    }
    third = {tool: await house.call(tool, point, "third") for tool in receipts}
    assert {tool: answer.result["structuredContent"]["receipt"] for tool, answer in third.items()} == receipts


async def test_a_payment_left_in_doubt_is_settled_by_a_person_and_its_repeat_answered(house: House) -> None:
    if not house.till.effects("pay", "after-effect"):  # another process has the tests before this one
        await house.killed_at("after-effect")
        await house.again("after-effect")
    doubtful = await house.call("pay", "after-effect", "third")
    assert doubtful.code == "outcome_unknown"
    call_id = doubtful.text.partition("toolgate runs settle ")[2].partition(" ")[0]
    house.running.command("runs", "settle", call_id, "succeeded", "--result", '{"receipt": "r-bank"}')
    settled = await house.call("pay", "after-effect", "fourth")
    assert settled.result["structuredContent"] == {"receipt": "r-bank"}
    assert house.till.effects("pay", "after-effect") == 1
    house.running.command("verify")
