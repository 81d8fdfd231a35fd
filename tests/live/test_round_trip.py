"""Two thousand generated definitions and as many results come through as they are, whatever is in them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.live.inside import Inside, inside
from tests.live.probe_server import tool
from tests.live.raw import ERAS, Peer, probe_section, probes
from tests.live.test_faithful import KEYS, SERVER_INFO, SERVERS, arguments, same, value

pytestmark = pytest.mark.asyncio(loop_scope="module")

OF_EACH = 1000
"""How many definitions each of the two servers has."""
RESULTS = 500
"""How many results come through in each of the four combinations of eras."""
PLAIN = [
    "",
    "a",
    "ü",
    "e\u0301",
    "日本語",
    "🏦",
    '"\\/',
    "</script>",
    "{{x}}",
    "%s",
    "'; DROP TABLE",
    '{"a":1}',
    "x" * 500,
]
CONTENT = (
    {"type": "text", "text": "t"}, {"type": "image", "data": "aGk=", "mimeType": "image/png"},
    {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}, {"type": "resource_link", "uri": "x://y", "name": "y"},
    {"type": "resource", "resource": {"uri": "x://y", "text": "t"}}, {"type": "acme.example/new", "deep": [None]},
)  # fmt: skip


def plain(chance: random.Random, depth: int = 2) -> Any:
    """A value whose texts are what they look like: others are screened out of definitions."""
    match chance.randrange(6 if depth else 4):
        case 0:
            return chance.choice([0, 1, -1, 2**53 + 1, 0.1, 1.0, 1e21, 10**30 + 7])
        case 1:
            return chance.choice([True, False, None])
        case 2 | 3:
            return chance.choice(PLAIN)
        case 4:
            return [plain(chance, depth - 1) for _ in range(chance.randrange(3))]
        case _:
            return {chance.choice(KEYS[:5]): plain(chance, depth - 1) for _ in range(chance.randrange(4))}


def schema(chance: random.Random, depth: int = 2) -> dict[str, Any]:
    """A JSON schema with keywords that nobody knows."""
    kind = chance.choice(
        ["string", "integer", "boolean", "array", "object", "null"] if depth else ["string", "integer"]
    )
    made: dict[str, Any] = {"x-acme": plain(chance), "type": kind, "description": chance.choice(PLAIN)}
    if kind == "array":
        made["items"] = schema(chance, depth - 1)
    if kind == "object":
        made["properties"] = {name: schema(chance, depth - 1) for name in chance.sample(KEYS[:6], 2)}
    if chance.random() < 0.3:
        made["default"] = plain(chance)
    return made


def definition(chance: random.Random, number: int) -> dict[str, Any]:
    """A tool with everything the specification knows, and more, in any order; its page is no other server's."""
    page = f"ui://x{chance.randrange(2**32)}/y"
    parts: list[tuple[str, Any]] = [
        ("inputSchema", {**schema(chance), "type": "object", "properties": {"a": schema(chance), "n": schema(chance)}}),
        ("description", chance.choice(PLAIN)),
        ("title", chance.choice(PLAIN)),
        ("annotations", {"readOnlyHint": True, "title": "T", "acme.example/x": plain(chance)}),
        ("icons", [{"src": "https://acme.example/i.png", "sizes": ["48x48"], "x": plain(chance)}]),
        ("_meta", {"acme.example/x": plain(chance), "ui": {"resourceUri": page}, "n": None}),
        ("execution", {"taskSupport": "forbidden", "x": plain(chance)}),
        ("outputSchema", {"type": "object", "x-acme": plain(chance)}),
        (f"x-{number}", plain(chance, 3)),
    ]
    kept = [part for part in parts if part[0] == "inputSchema" or chance.random() < 0.7]
    chance.shuffle(kept)
    return {"name": f"t{number}", **dict(kept)}


def result(chance: random.Random) -> dict[str, Any]:
    """A result of a tool with everything it may have, and more."""
    content = [{**chance.choice(CONTENT), "annotations": {"x": value(chance, 2)}} for _ in range(chance.randrange(4))]
    made: dict[str, Any] = {"content": content, f"x-{chance.choice(PLAIN)[:5]}": value(chance, 3)}
    if chance.random() < 0.5:
        made["structuredContent"] = value(chance, 3)
    if chance.random() < 0.5:
        made["_meta"] = {"acme.example/x": value(chance, 2), **arguments(chance, 1)}
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    """A server of each era, named after it, with its definitions and a tool that answers as it is told to."""
    home: Path = tmp_path_factory.mktemp("round")
    sections = "".join(probe_section(home / era, name=era, era=era) for era in SERVERS)
    for era in SERVERS:
        written = await asyncio.to_thread(definitions, era)
        says = tool("say", annotations={"readOnlyHint": True})
        (home / era / "tools.json").write_text(json.dumps([says, *written]), encoding="utf-8")
    config = probes(sections).replace("server: {", "server: { list_limit: 5000,")
    async with inside(home, config) as running:
        yield running


@cache
def definitions(server: str) -> list[dict[str, Any]]:
    chance = random.Random(server)
    return [definition(chance, number) for number in range(OF_EACH)]


@pytest.mark.parametrize("era", ERAS)
async def test_every_definition_is_listed_as_its_server_wrote_it(gate: Inside, era: str) -> None:
    known = await Peer(gate.url, gate.tokens["payer"], era).connect()
    listed = {each["name"]: each for each in (await known.rpc("tools/list")).result["tools"]}
    changed = await asyncio.to_thread(differing, listed)  # the gateway is in this process, and has to go on meanwhile
    assert changed == []


def differing(listed: dict[str, Any]) -> list[str]:
    """Return the names of the tools that are not listed as they were written."""
    expected = [{**each, "name": f"{server}_{each['name']}"} for server in SERVERS for each in definitions(server)]
    return [each["name"] for each in expected if not same(listed[each["name"]], each)]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("era", ERAS)
async def test_every_result_comes_as_its_server_wrote_it(gate: Inside, era: str, server: str) -> None:
    chance = random.Random(f"{era} {server} results")
    known = await Peer(gate.url, gate.tokens["payer"], era).connect()
    for number in range(RESULTS):
        expected = result(chance)
        found = (await known.call(f"{server}_say", {"n": number, "result": expected})).result
        if era == "modern":
            assert found.pop("resultType") == "complete"
            found["_meta"].pop(SERVER_INFO)
            if not found["_meta"] and "_meta" not in expected:
                del found["_meta"]
        assert same(found, expected), number
