"""What is written down and shown holds no secret and no trick; no other door opens."""

import asyncio
import json
import logging
import re

import pytest

from tests.live.front.attack import SECRET, events, header, peer
from tests.live.inside import Inside
from tests.live.raw import ERAS, Peer
from tests.live.running import command_inside, environment

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("era", ERAS)
async def test_secrets_reach_neither_the_agent_nor_the_disk(
    gate: Inside, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    known = await peer(gate, era)
    canaries = [f"canary-{era}-{number}-{'q' * 20}" for number in range(6)]
    secret_arguments = {
        "password": canaries[0],
        "nested": {"api_key": canaries[1], "Authorization": f"Bearer {canaries[2]}"},
        "note": f"password={canaries[3]}",
        "json": json.dumps({"client_secret": canaries[4]}),
    }
    for name in ("probe_leak", "probe_fail", "probe_act", "nothing"):
        answer = await known.call(name, secret_arguments)
        assert SECRET.encode() not in answer.body
    echoed = await known.call("probe_leak", {"tell": SECRET, "token": known.token})
    assert SECRET not in echoed.text
    await known.call("probe_echo", {}, Authorization=f"Bearer {canaries[5]}")
    await known.call("probe_echo", {}, Cookie=f"session={canaries[5]}", X_Api_Key=canaries[5])
    await gate.gateway.store.verify()  # whatever is queued is on the disk now
    kept = b"".join(file.read_bytes() for file in (gate.home / "data").iterdir() if "gateway" in file.name)
    kept += caplog.text.encode()
    assert b"probe.leak" in kept
    for secret in (SECRET, *canaries, *(token.rpartition("_")[2] for token in gate.tokens.values())):
        assert secret.encode() not in kept, secret


async def test_hostile_words_cannot_forge_a_line_of_the_trace(gate: Inside) -> None:
    hostile = "x\r\n2026-01-01 00:00:00.000  call_0  payer  forged\x1b[2J\u202e\u2028"
    about = {"name": hostile, "version": hostile}
    meta = {"io.modelcontextprotocol/clientInfo": about, "traceparent": hostile}
    session = Peer(gate.url, gate.tokens["payer"], "legacy")
    body = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": about}
    opened = await session.post(
        json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": body}).encode()
    )
    session.session = opened.headers["mcp-session-id"]
    modern = await peer(gate)
    for known in (modern, session):
        sent = meta if known is modern else None
        named = header(hostile) if known is modern else None
        assert (await known.call(hostile, {hostile: hostile}, sent, Mcp_Name=named)).code == "unknown_tool"
        assert (await known.call("probe_act", {hostile: hostile}, sent)).code == "ok"
    last = [event for event in await events(gate) if "forged" in event.tool][-1]
    for command in (["trace", "list"], ["trace", "show", last.call_id], ["agents", "list"]):
        done = await asyncio.to_thread(command_inside, gate.home, environment(), *command)
        assert done.returncode == 0, done.stderr
        shown = done.stdout
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", shown)
        assert not [line for line in shown.splitlines() if line.startswith("2026-01-01")]


@pytest.mark.parametrize(
    "path",
    ["/-/status", "/-/lease", "/-/status/", "/metrics", "/docs", "/openapi.json", "/admin", "/", "/mcp/", "//mcp",
     "/MCP", "/mcp/../-/status", "/..%2f..%2fetc/passwd", "/%2e%2e/gateway.yaml", "/gateway.yaml",
     "/.toolgate/local.key", "/-/status?token=x", "/debug/pprof", "/mcp%00", "/-%2fstatus", "http://evil.example/-/status"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
async def test_no_other_door_opens_without_its_key(gate: Inside, path: str, method: str) -> None:
    known = await peer(gate)
    for token in (None, f"Bearer {known.token}") if "lease" not in path else (None,):
        answer = await known.ask(method, path, b"{}" if method in {"POST", "PUT"} else None, Authorization=token)
        assert answer.status in {400, 401, 404, 405, 421, 307}, answer
        assert answer.headers.get("location", "").startswith(("http://127.0.0.1:", "")), answer.headers
        for word in (b"payer", b"probe", b"bundle", SECRET.encode()):
            assert word not in answer.body


async def test_health_says_nothing_but_that_it_answers(gate: Inside) -> None:
    answer = await Peer(gate.url).ask("GET", "/healthz")
    assert answer.json == {"status": "ok"}
    assert "server" not in answer.headers


async def test_get_opens_a_stream_for_a_known_session_only(gate: Inside) -> None:
    known = await peer(gate)
    modern = await known.ask("GET", "/mcp", Accept="text/event-stream", MCP_Protocol_Version="2026-07-28")
    assert (modern.status, modern.headers["allow"]) == (405, "GET, POST, DELETE")
    for session, status in ((None, 400), ("a.b.c", 404)):
        answer = await known.ask("GET", "/mcp", Accept="text/event-stream", Mcp_Session_Id=session)
        assert answer.status == status
    stranger = Peer(gate.url)
    assert (await stranger.ask("GET", "/mcp", Accept="text/event-stream", Mcp_Session_Id="a.b.c")).status == 401
