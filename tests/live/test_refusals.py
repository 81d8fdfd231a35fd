"""Default deny: whatever is missing, broken or away, the call is refused, recorded, and the agent told what to do."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.app import build_rules
from gateway.catalog.lock import Lock
from gateway.cli.loaded import load_now
from gateway.identity.tokens import Tokens
from gateway.ledger.trace import CallLine, one_line
from gateway.model.clock import RandomIds, SystemClock
from gateway.policy import PolicyLoadError
from gateway.store.ports import EventFilter
from gateway.store.sqlite import SqliteStore
from tests.live.inside import Inside, call, code, inside
from tests.live.raw import ERAS, Answer, Peer, probe_section, probes, received

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("refusals")
    (home / "policies").mkdir()
    (home / "policies" / "own.cedar").touch()
    async with inside(home, probes(probe_section(home / "probe"), more="policies: [policies/own.cedar]")) as running:
        yield running


@pytest.fixture(autouse=True)
def own_policies(gate: Inside) -> Iterator[Path]:
    """A policy file that a test may write; what it says is gone after the test."""
    path = gate.home / "policies" / "own.cedar"
    yield path
    path.write_text("", encoding="utf-8")


async def peer(gate: Inside, era: str = "modern", agent: str = "payer") -> Peer:
    return await Peer(gate.url, gate.tokens[agent], era).connect()


async def line(gate: Inside, answer: Answer) -> CallLine:
    """Return what the ledger says of a refused call."""
    await gate.gateway.store.verify()
    found = await one_line(gate.gateway.store, answer.result["_meta"]["io.toolgate/refusal"]["call"])
    assert found is not None
    return found


async def last_line(gate: Inside) -> CallLine:
    """Return what the ledger says of the last call; what is no call's own may have been written since."""
    latest = [event async for event in gate.gateway.store.events(EventFilter(limit=20, latest=True))]
    for event in sorted(latest, key=lambda each: each.seq, reverse=True):
        found = await one_line(gate.gateway.store, event.call_id) if event.call_id else None
        if found is not None:
            return found
    raise AssertionError(latest)


async def reload(gate: Inside) -> str:
    return await gate.gateway.reload(load_now(gate.home / "gateway.yaml").config)


@pytest.mark.parametrize("era", ERAS)
async def test_what_no_policy_allows_is_denied_and_not_listed(gate: Inside, era: str) -> None:
    clerk = await peer(gate, era, "clerk")
    listed = (await clerk.rpc("tools/list")).result["tools"]
    assert [tool["name"] for tool in listed] == ["probe_echo"]
    answer = await clerk.call("probe_act", {"by": "clerk"})
    assert answer.code == "denied"
    assert "ask the operator" in answer.text.lower()
    recorded = await line(gate, answer)
    assert (recorded.outcome, recorded.agent, recorded.tool) == ("denied", "clerk", "probe.act")
    assert not [sent for sent in received(gate.home / "probe") if '"clerk"' in sent]


async def test_with_no_policy_at_all_nothing_is_allowed(tmp_path: Path) -> None:
    config = re.sub(r", allow: \[.*?\]", "", probes(probe_section(tmp_path / "probe"))).replace(
        'clerk:  { allow: ["probe.echo"] }', "clerk:  {}"
    )
    async with inside(tmp_path, config) as bare:
        for era in ERAS:
            known = await peer(bare, era)
            assert (await known.rpc("tools/list")).result["tools"] == []
            answer = await known.call("probe_echo")
            assert answer.code == "denied"
            assert (await line(bare, answer)).outcome == "denied"


async def test_a_flood_of_bad_tokens_is_refused_and_counted_but_not_kept(tmp_path: Path) -> None:
    async with inside(tmp_path, probes(probe_section(tmp_path / "probe"))) as gate:
        known = await peer(gate)
        for number in range(120):
            assert (await known.rpc("tools/list", Authorization=f"Bearer tg_{number}")).status == 401
        await gate.gateway.strangers.tell()
        events = [event async for event in gate.gateway.store.events(EventFilter(limit=10_000))]
        assert len([event for event in events if event.agent == "unknown"]) == 100
        [told] = [event.body for event in events if '"refusals left out"' in event.body]
        assert '"from":{"127.0.0.1":20}' in told
        assert (await known.rpc("tools/list")).status == 200


async def test_policies_that_do_not_load_at_start_deny_every_call_until_they_do(tmp_path: Path) -> None:
    config = probes(probe_section(tmp_path / "probe"), more="policies: [policies/own.cedar]")
    (tmp_path / "policies").mkdir()
    own = tmp_path / "policies" / "own.cedar"
    own.write_text("permit (principal, action, resource) when { contxt.input.amount > 1 };", encoding="utf-8")
    async with inside(tmp_path, config) as broken:
        for era in ERAS:
            known = await peer(broken, era)
            assert (await known.rpc("tools/list")).result["tools"] == []
            answer = await known.call("probe_echo")
            assert answer.code == "denied"
            assert "operator" in answer.text
            assert (await line(broken, answer)).outcome == "denied"
        assert "own.cedar" in broken.gateway.status()["policy_problem"]
        own.write_text("", encoding="utf-8")
        assert await reload(broken) == ""
        assert (await (await peer(broken)).call("probe_echo")).code == "ok"
        assert broken.gateway.status()["policy_problem"] == ""


@pytest.mark.parametrize("era", ERAS)
async def test_a_policy_that_cannot_be_evaluated_denies(gate: Inside, own_policies: Path, era: str) -> None:
    own_policies.write_text(
        '@id("overflows") forbid (principal, action == Gateway::Action::"probe.exact", resource) '
        "when { context.input has number && context.input.number + 9223372036854775807 < 0 };",
        encoding="utf-8",
    )
    assert await reload(gate) == ""
    known = await peer(gate, era)
    answer = await known.call("probe_exact", {"number": 1})
    assert answer.code == "denied"
    assert "could not be evaluated" in answer.text
    assert "operator" in answer.text
    recorded = await line(gate, answer)
    assert recorded.outcome == "denied"
    assert recorded.asked["decision"]["errors"]
    assert (await known.call("probe_exact", {"number": -1})).code == "ok"
    own_policies.write_text("", encoding="utf-8")
    assert await reload(gate) == ""


@pytest.mark.parametrize("era", ERAS)
async def test_what_a_policy_cannot_read_exactly_is_not_guessed(gate: Inside, own_policies: Path, era: str) -> None:
    own_policies.write_text(
        '@id("small") forbid (principal, action == Gateway::Action::"probe.exact", resource) '
        "when { context.input has number && context.input.number > 10 };",
        encoding="utf-8",
    )
    assert await reload(gate) == ""
    known = await peer(gate, era)
    for number in (11, 2**63, 2**64 + 1, -(2**63) - 1):
        answer = await known.call("probe_exact", {"number": number})
        assert answer.code == "denied", number
        assert (await line(gate, answer)).outcome == "denied"
    assert (await known.call("probe_exact", {"number": 10})).code == "ok"
    own_policies.write_text("", encoding="utf-8")
    assert await reload(gate) == ""


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_the_policies_do_not_know_is_denied(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    running, before = gate.gateway, gate.gateway.rules.current
    others = running.config.model_copy(update={"agents": {"clerk": running.config.agents["clerk"]}})
    assert not isinstance(running.written, PolicyLoadError)
    lock = Lock.read(running.home.lock)
    running.rules.current = build_rules(others, running.written, lock, running.survey.live)
    try:
        answer = await known.call("probe_echo")
        assert answer.code == "denied"
        assert "not registered" in answer.text
        assert "operator" in answer.text
        assert (await line(gate, answer)).asked["decision"]["errors"] == ["unknown principal"]
    finally:
        running.rules.current = before


async def test_a_store_that_cannot_be_written_refuses_effects_and_recovers(gate: Inside) -> None:
    era = "modern"  # the other era meets the full disk below: waiting for a lock takes its time
    known = await peer(gate, era)
    assert (await known.call("probe_act", {"before": era})).code == "ok"
    await gate.gateway.store.verify()
    other = sqlite3.connect(gate.database("gateway"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        answer = await known.call("probe_act", {"during": era})
        assert answer.code == "store_unavailable"
        assert "Try again in 1 s." in answer.text
        assert answer.result["_meta"]["io.toolgate/refusal"]["retryable"] is True
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert not [sent for sent in received(gate.home / "probe") if '"during"' in sent and era in sent]
    assert (await known.call("probe_act", {"during": era})).code == "ok"
    assert (await line(gate, answer)).code == "store_unavailable"


@pytest.mark.parametrize("era", ERAS)
async def test_a_full_disk_refuses_effects_and_recovers(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    await gate.gateway.store.verify()
    store = gate.gateway.store
    assert isinstance(store, SqliteStore)

    def limit(db: sqlite3.Connection, pages: int) -> None:
        db.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    await store._write_to.run(limit, 1)
    codes: list[str] = []
    while not codes or codes[-1] in {"ok", "outcome_unknown"}:  # what found no room last may be an outcome, once sent
        codes.append((await known.call("probe_act", {era: len(codes), "full": "x" * 2000})).code)
        assert len(codes) < 200
    assert (codes[-1], codes.count("outcome_unknown") <= 1) == ("store_unavailable", True)
    number = len(codes) - 1
    sent = [line for line in received(gate.home / "probe") if '"full"' in line and era in line]
    assert len(sent) == number
    await store._write_to.run(limit, 1_000_000_000)
    assert (await known.call("probe_act", {era: number, "full": "x" * 2000})).code == "ok"
    assert await store.verify() > 0


@pytest.mark.parametrize("era", ERAS)
async def test_what_is_no_call_is_refused_and_on_record(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    said = {"Mcp_Session_Id": known.session} if era == "legacy" else {"MCP_Protocol_Version": "2026-07-28"}
    huge = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x" * 5_000_000}})
    for body, status, expected in (
        (b'{"jsonrpc"', 400, "invalid_arguments"),
        (b'{"a":1,"a":2}', 400, "invalid_arguments"),
        (b"[]", 400, "invalid_arguments"),
        (huge.encode(), 413, "too_large"),
    ):
        answer = await known.post(body, **said)
        assert answer.status == status
        assert len(answer.error["message"]) > 20
        recorded = await last_line(gate)
        assert (recorded.agent, recorded.outcome, recorded.code) == ("payer", "failed", expected)
    for params in ({"name": 7}, {"name": "probe_act", "arguments": []}):
        answer = await known.rpc("tools/call", params)
        assert answer.error["code"] in {-32602, -32020}
        assert (await last_line(gate)).code == "invalid_arguments"


@pytest.mark.parametrize("era", ERAS)
async def test_what_a_stranger_sends_is_refused_unread(gate: Inside, era: str) -> None:
    stranger = Peer(gate.url, "", era)
    for body in (b'{"jsonrpc"', b"x" * 5_000_000):
        said = {"MCP_Protocol_Version": "2026-07-28"} if era == "modern" else {}
        assert (await stranger.post(body, **said)).status == 401
        assert (await last_line(gate)).code == "unauthenticated"


@pytest.mark.parametrize("era", ERAS)
async def test_each_refusal_says_what_to_do_and_is_on_record(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    for tool, arguments, meta, expected, advice in (
        ("probe_ecko", {}, None, "unknown_tool", "Did you mean probe_echo? List the tools again."),
        ("probe_exact", {"number": "1"}, None, "invalid_arguments", "probe_exact"),
        ("probe_act", {}, {"io.toolgate/run": f"run_{'0' * 32}"}, "invalid_arguments", "run.start"),
        ("probe_act", {"x": era}, {"io.toolgate/idempotency-key": f"k-{era}"}, "ok", ""),
        ("probe_act", {"y": era}, {"io.toolgate/idempotency-key": f"k-{era}"}, "idempotency_conflict", "new key"),
    ):
        answer = await known.call(tool, arguments, meta)
        assert answer.code == expected
        if expected != "ok":
            assert advice in answer.text
            assert (await line(gate, answer)).code == expected


# who may no longer


@pytest.mark.parametrize("era", ERAS)
async def test_a_revoked_token_is_refused_within_a_second_on_an_open_session(tmp_path: Path, era: str) -> None:
    async with inside(tmp_path, probes(probe_section(tmp_path / "probe"))) as here:
        known = await peer(here, era)
        assert (await known.call("probe_echo")).code == "ok"
        elsewhere = SqliteStore(here.database("gateway"), SystemClock())  # as `toolgate token revoke` does
        await elsewhere.open()
        await Tokens(elsewhere, here.clock, RandomIds()).revoke("payer")
        await elsewhere.close()
        async with asyncio.timeout(1.0):
            while (answer := await known.call("probe_echo")).status != 401:
                await asyncio.sleep(0.02)
        assert answer.error["data"]["code"] == "identity_revoked"
        assert "token" in answer.error["message"]
        assert (await last_line(here)).code == "identity_revoked"
        assert (await (await peer(here, era, "payer2")).call("probe_echo")).code == "ok"


@pytest.mark.parametrize("door", ["modern", "legacy", "stdio-modern", "stdio-legacy"])
async def test_an_agent_that_is_no_longer_configured_is_refused_while_connected(gate: Inside, door: str) -> None:
    path = gate.home / "gateway.yaml"
    before = path.read_text(encoding="utf-8")
    async with gate.client(door) as client:
        assert code(await call(client, "probe_echo", {})) == "ok"
        path.write_text(re.sub(r"(?m)^  payer: .*\n", "", before), encoding="utf-8")
        assert await reload(gate) == ""
        try:
            with pytest.raises(Exception, match=r"(?i)unauth|401|credential|session|token"):
                await call(client, "probe_echo", {})
            recorded = await last_line(gate)
            assert (recorded.agent, recorded.code) == ("unknown", "unauthenticated")
        finally:
            path.write_text(before, encoding="utf-8")
            assert await reload(gate) == ""
