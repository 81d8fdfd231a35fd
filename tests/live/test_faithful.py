"""What was decided on is what the tool received, byte for byte; what the tool answered is what the agent got."""

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.codec import canonical, digest
from gateway.store.ports import EventFilter
from tests.live.inside import Inside, call, code, inside
from tests.live.raw import ERAS, Answer, Peer, probe_section, probes, received

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETS = 1000
SERVERS = ["legacy", "modern"]
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
REPLAYED = "io.toolgate/replayed-from"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    """One server of each era, named after it."""
    home: Path = tmp_path_factory.mktemp("faithful")
    sections = "".join(probe_section(home / era, name=era, era=era) for era in SERVERS)
    async with inside(home, probes(sections)) as running:
        yield running


async def peer(gate: Inside, era: str) -> Peer:
    return await Peer(gate.url, gate.tokens["payer"], era).connect()


# argument sets: everything JSON can say, and what parsers are known to stumble over

TEXTS = [
    "", "a", "ü", "e\u0301", "\u00e9", "日本語", "🏦", "\U0010ffff", "\ufeff", "\u2028\u2029", "\x00\x1f\x7f",
    '"\\/\b\f\n\r\t', "</script>", "${secret:x}", "{{x}}", "%s%n", "'; DROP TABLE", "a\r\nb", '{"a":1}', "[1,", "null",
    "1e999", "\u202ex", "x" * 5000,
]  # fmt: skip
KEYS = [
    "a", "A", "", " ", "amount", "payment_id", "__proto__", "constructor", "$ref", "toString", "id", "method", "ä", "Ω",
    "🏦", "a.b", "a\nb", "1", "01",
]  # fmt: skip
NUMBERS = [
    0, -0.0, 1, -1, 1.0, 0.1, 0.1 + 0.2, 1e-7, 1e21, 1e300, 5e-324, 1.7976931348623157e308, 2**31, 2**53 - 1, 2**53,
    2**53 + 1, -(2**63), 2**63, 2**64, 2**64 + 1, 10**30 + 7, 250.0, 250.01, 333333333.3333333,
    9007199254740993.0, 4.35, 1 / 3,
]  # fmt: skip


def value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(9 if depth else 6)
    match kind:
        case 0:
            return chance.choice(NUMBERS)
        case 1:
            return chance.choice([chance.getrandbits(chance.randrange(1, 200)), chance.uniform(-1e9, 1e9)])
        case 2:
            return chance.choice([True, False, None])
        case 3 | 4:
            return chance.choice(TEXTS)
        case 5:
            points = [p for p in (chance.randrange(0x11000) for _ in range(8)) if not 0xD800 <= p < 0xE000]
            return "".join(map(chr, points))
        case 6:
            return [value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case _:
            return arguments(chance, depth - 1)


def arguments(chance: random.Random, depth: int = 4) -> dict[str, Any]:
    names = [chance.choice(KEYS) for _ in range(chance.randrange(6))]
    return {name: value(chance, depth) for name in names}


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same to the last bit: types, order of keys and the sign of zero too."""
    return repr(one) == repr(other) and canonical(one) == canonical(other)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("era", ERAS)
async def test_what_was_decided_on_is_what_the_tool_received(gate: Inside, era: str, server: str) -> None:
    chance = random.Random(f"{era} {server}")
    known = await peer(gate, era)
    before = len(received(gate.home / server))
    sets = [{**arguments(chance), "n": number} for number in range(SETS // 4)]
    results: list[Answer] = []
    for each in sets:
        results.append(await known.call(f"{server}_act", each))
    assert {answer.code for answer in results} == {"ok"}
    lines = received(gate.home / server)[before:]
    assert len(lines) == len(sets)
    store = gate.gateway.store
    decided = {e.body: e async for e in store.events(EventFilter(tool=f"{server}.act", limit=100_000))}
    digests = {json.loads(body).get("arguments_digest") for body in decided}
    for sent, line, answer in zip(sets, lines, results, strict=True):
        got = json.loads(line)["params"]["arguments"]
        assert same(got, sent)
        assert same(answer.result["structuredContent"]["got"], sent)
        assert digest(got) in digests


@pytest.mark.parametrize("door", ["stdio-modern", "stdio-legacy"])
async def test_what_came_over_stdio_is_what_the_tool_received(gate: Inside, door: str) -> None:
    chance = random.Random(door)
    before = len(received(gate.home / "legacy"))
    sets = [{**arguments(chance), "n": [door, number]} for number in range(60)]
    async with gate.client(door) as client:
        for each in sets:
            assert code(await call(client, "legacy_act", each)) == "ok"
    lines = received(gate.home / "legacy")[before:]
    for sent, line in zip(sets, lines, strict=True):
        assert same(json.loads(line)["params"]["arguments"], sent)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("era", ERAS)
async def test_meta_reaches_the_tool_without_what_is_the_gateways(gate: Inside, era: str, server: str) -> None:
    known = await peer(gate, era)
    theirs = {"acme.example/trace": [1, {"a": None}], "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "n": 2**64 + 1}
    mine = {"io.toolgate/run": "faithful", "io.toolgate/idempotency-key": f"{era}-{server}", "progressToken": 7}
    assert (await known.call(f"{server}_act", {"meta": era}, {**theirs, **mine})).code == "ok"
    got = json.loads(received(gate.home / server)[-1])["params"]["_meta"]
    kept = {name: said for name, said in got.items() if not name.startswith("io.modelcontextprotocol/")}
    token = kept.pop("progressToken")  # the gateway's own in the place of the client's, which is put back on the way
    assert isinstance(token, int)
    assert same(kept, theirs)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("era", ERAS)
async def test_what_the_tool_answered_is_what_the_agent_got(gate: Inside, era: str, server: str) -> None:
    """But for what each era says of itself: `resultType` and the server's name."""
    known = await peer(gate, era)
    asked = {"odd": [era, server], "number": 2**70}
    answer = (await known.call(f"{server}_odd", asked, {"io.toolgate/idempotency-key": f"odd-{era}-{server}"})).result
    meta = {"acme.example/trace": [1, {"a": None}], "plain": 12345678901234567890123}
    expected = {
        "content": [{"type": "text", "text": "ok", "acme": 1}],
        "structuredContent": {"got": asked},
        "_meta": meta,
        "x-unknown": {"kept": True, "deep": [{"still": "here"}]},
    }
    if era == "modern":
        assert answer["_meta"].pop(SERVER_INFO)["name"] == "toolgate"
        assert answer.pop("resultType") == "complete"
    assert canonical(answer) == canonical(expected)
    again = (await known.call(f"{server}_odd", asked, {"io.toolgate/idempotency-key": f"odd-{era}-{server}"})).result
    again["_meta"].pop(SERVER_INFO, None)
    again.pop("resultType", None)
    assert again["_meta"].pop(REPLAYED).startswith("call_")
    assert canonical(again) == canonical(expected)


@pytest.mark.parametrize("era", ERAS)
async def test_a_tools_own_error_passes_unchanged(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    for server in SERVERS:
        answer = await known.call(f"{server}_fail", {"why": "ü"})
        assert answer.code == "error"
        assert answer.result["content"] == [{"type": "text", "text": 'trouble with  and {"why": "\\u00fc"}'}]
