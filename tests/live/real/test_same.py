"""Six servers that other people wrote say the same directly and through the gateway, by every door."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.live.inside import Inside
from tests.live.real.comparison import DIFFERENCES, compared, read_as
from tests.live.real.doors import directly, doors_of, gateway_with, through
from tests.live.real.servers import NAMES, Real, real
from tests.live.real.steps import LISTS, Step, carried_out, steps_for
from tests.live.speaking import ABLE, Speaker

Record = list[tuple[Step, dict[str, Any]]]


def installed(name: str, web: str) -> Real:
    try:
        return real(name, web)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"NOT TESTED: {name} cannot be installed here: {error}")


async def lists(speaker: Speaker) -> dict[str, list[dict[str, Any]]]:
    """Return everything that is listed; tools by name, as the gateway lists those of all servers."""
    listed = {method: await speaker.every(method, key) for method, key in LISTS.items()}
    listed["tools/list"].sort(key=lambda tool: tool["name"])
    return listed


def bare(question: dict[str, Any]) -> dict[str, Any]:
    return {name: said for name, said in question.items() if said}


async def record(speaker: Speaker, server: Real, folder: Path) -> Record:
    """List and use everything; the lists are part of it."""
    listed = await lists(speaker)
    found: Record = [(Step(method), {"result": {"items": items}}) for method, items in listed.items()]
    async for step, answer in carried_out(speaker, steps_for(server.plan, listed), str(folder)):
        found.append((step, answer))
    if server.able:
        await speaker.until(lambda: {"method": "roots/list"} in map(bare, speaker.asked))
    return [(step, read_as(answer, server.masks)) for step, answer in found]


async def recorded_through(gate: Inside, door: str, server: Real, folder: Path) -> Record:
    async with through(gate, door, capabilities=ABLE if server.able else {}) as speaker:
        return await record(speaker, server, folder)


@pytest.mark.parametrize("name", NAMES)
async def test_everything_it_lists_and_does_is_the_same(name: str, web: str, tmp_path: Path) -> None:
    server = await asyncio.to_thread(installed, name, web)
    doors = doors_of(name)
    folders = {way: tmp_path / way for way in ("directly", *doors)}
    for folder in folders.values():
        folder.mkdir()
        server.prepare(folder)
    async with directly(server, folders.pop("directly")) as speaker:
        expected = await record(speaker, server, tmp_path / "directly")
    async with gateway_with(server, folders, tmp_path / "home") as gate:
        found = await asyncio.gather(*(recorded_through(gate, door, server, folders[door]) for door in doors))
    explained: set[str] = set()
    unexplained = []
    for door, answers in zip(doors, found, strict=True):
        assert [step for step, _ in answers] == [step for step, _ in expected], door
        for (step, direct), (_, gated) in zip(expected, answers, strict=True):
            why = compared(name, step, direct, gated)
            if why is None:
                unexplained.append(f"{door}: {step}\n  directly {json.dumps(direct)}\n  through  {json.dumps(gated)}")
            elif why:
                explained.add(why)
    assert not unexplained, "\n".join(unexplained)
    assert explained == {each.name for each in DIFFERENCES if name in each.servers}
