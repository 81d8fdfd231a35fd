"""What an attacker in front of the gateway can send, over raw HTTP in both eras. The gateway answers on after each."""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization

from gateway.credentials.secrets import SecretStore
from gateway.store.ports import Event, EventFilter
from tests.identity.doubles import Signer, b64
from tests.live.inside import Inside, inside
from tests.live.raw import ERAS, Peer, probe_section, probes, received

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "canary-Zq7/v3+x9-probe-key"
ISSUER = "https://issuer.example"
AUDIENCE = "https://gate.example/mcp"
SIGNER = Signer()
JAY = f"""
  jay:
    auth: {{ jwt: {{ issuer: "{ISSUER}", audience: "{AUDIENCE}", subject: jay, jwks_file: "JWKS" }} }}
    allow: ["*"]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("front")
    (home / "jwks.json").write_text(json.dumps({"keys": [SIGNER.jwk]}), encoding="utf-8")
    (home / ".toolgate").mkdir(mode=0o700)
    SecretStore(home / ".toolgate", {}).set("probe_key", SECRET)
    section = probe_section(home / "probe", env=', PROBE_SECRET: "${secret:probe_key}"')
    config = probes(section, JAY.replace("JWKS", str(home / "jwks.json")))
    async with inside(home, config) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def still_answers(gate: Inside) -> AsyncIterator[None]:
    """After each attack a good call is answered, in both eras."""
    yield
    for era in ERAS:
        good = await peer(gate, era)
        assert (await good.call("probe_echo", {"still": "here"})).code == "ok"


async def peer(gate: Inside, era: str = "modern", agent: str = "payer") -> Peer:
    return await Peer(gate.url, gate.tokens[agent], era).connect()


async def events(gate: Inside) -> list[Event]:
    return [event async for event in gate.gateway.store.events(EventFilter(limit=1_000_000))]


# who calls

NO_TOKENS = {
    "none": None,
    "garbage": "Bearer x",
    "empty": "Bearer ",
    "another scheme": "Basic cGF5ZXI6cGF5ZXI=",
    "a token that was never issued": f"Bearer tg_{'0' * 32}_{'0' * 32}",
    "a local credential that was never issued": "Bearer tgl.payer.0000",
    "alg none": f"Bearer {b64({'alg': 'none'})}.{b64({'iss': ISSUER, 'aud': AUDIENCE, 'sub': 'jay', 'exp': 9e9})}.",
    "oversized": f"Bearer {'a' * 9000}",
    "not ASCII": "Bearer t\u00f6ken",
    "a quote and a semicolon": "Bearer ' OR 1=1; --",
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("credential", NO_TOKENS.values(), ids=NO_TOKENS)
async def test_a_caller_nobody_knows_is_refused_and_on_record(gate: Inside, era: str, credential: str | None) -> None:
    known = await peer(gate, era)
    before = len(await events(gate))
    for method, params in (
        ("tools/call", {"name": "probe_echo", "arguments": {}}),
        ("tools/list", {}),
        ("server/discover" if era == "modern" else "ping", {}),
    ):
        answer = await known.rpc(method, params, Authorization=credential)
        assert answer.status == 401, method
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.error["data"] == {"code": "unauthenticated"}
    refused = [event for event in (await events(gate))[before:] if event.agent == "unknown"]
    assert len(refused) == 3
    assert all("unauthenticated" in event.body for event in refused)


@pytest.mark.parametrize("era", ERAS)
async def test_a_token_in_the_query_string_is_no_token(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    token, known.token = known.token, ""
    for name in ("token", "access_token", "authorization"):
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
        answer = await known.ask("POST", f"/mcp?{name}={token}", body, Mcp_Session_Id=known.session or None)
        assert answer.status == 401


async def test_a_repeated_authorization_header_is_refused_not_chosen_from(gate: Inside) -> None:
    good = await peer(gate)
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
    twice = [*good.headers(body).items(), ("authorization", f"Bearer {gate.tokens['clerk']}")]
    assert (await good.send(good.head("POST", "/mcp", twice) + body)).status == 400


def claims(gate: Inside, **changes: Any) -> dict[str, Any]:
    now = gate.clock.now_ms() // 1000
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "jay", "iat": now, "exp": now + 600} | changes


@pytest.mark.parametrize("era", ERAS)
async def test_a_jwt_of_the_agents_issuer_is_known_and_its_user_is_on_record(gate: Inside, era: str) -> None:
    token = SIGNER.token(claims(gate, sub="ann@acme.example", act={"sub": "jay"}))
    answer = await (await Peer(gate.url, token, era).connect()).call("probe_act", {"by": era})
    assert answer.code == "ok"
    last = (await events(gate))[-1]
    assert (last.agent, last.on_behalf_of) == ("jay", "ann@acme.example")


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "wrong audience": {"aud": "https://other.example/mcp"},
    "audience of a prefix": {"aud": AUDIENCE + "/x"},
    "no audience": {"aud": None},
    "wrong issuer": {"iss": "https://evil.example"},
    "issuer with a slash": {"iss": ISSUER + "/"},
    "expired": {"exp": 1_000_000_000},
    "no expiry": {"exp": None},
    "not yet": {"nbf": 4_000_000_000},
    "issued in the future": {"iat": 4_000_000_000},
    "another subject": {"sub": "payer"},
    "an agent's name as user": {"act": {"sub": "ann"}},
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
async def test_a_jwt_with_a_wrong_claim_is_refused(gate: Inside, era: str, changes: dict[str, Any]) -> None:
    said = {name: value for name, value in claims(gate, **changes).items() if value is not None}
    answer = await Peer(gate.url, SIGNER.token(said), "modern").rpc("tools/list")
    assert answer.status == 401
    await assert_no_way_in(gate, SIGNER.token(said), era)


async def assert_no_way_in(gate: Inside, token: str, era: str) -> None:
    stranger = Peer(gate.url, token, era)
    if era == "legacy":
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
        answer = await stranger.post(json.dumps(body).encode())
        assert "mcp-session-id" not in answer.headers
    else:
        answer = await stranger.call("probe_echo")
    assert answer.status == 401
    assert answer.error["data"]["code"] in {"unauthenticated", "identity_expired"}


def forged(gate: Inside, how: str) -> str:
    said = claims(gate)
    public = SIGNER.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    match how:
        case "another key":
            return Signer().token(said)
        case "an unknown kid":
            return SIGNER.token(said, kid="k2")
        case "a kid that is a path":
            return SIGNER.token(said, kid="../../../dev/null")
        case "its own key inside":
            other = Signer()
            return other.token(said, jwk=other.jwk)
        case "HS256 with the public key":  # pyjwt itself refuses to make one, so by hand
            text = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{b64(said)}"
            return f"{text}.{b64(hmac.digest(public, text.encode(), hashlib.sha256))}"
        case "alg none with a signature":
            return f"{b64({'alg': 'none', 'kid': 'k1'})}.{b64(said)}.{SIGNER.token(said).split('.')[2]}"
        case "a changed payload":
            head, _, signature = SIGNER.token(said).split(".")
            return f"{head}.{b64({**said, 'sub': 'jay', 'scope': 'all'})}.{signature}"
        case "a blank signature":
            return SIGNER.token(said).rpartition(".")[0] + "."
        case _:
            return jwt.encode(said, "s" * 64, "HS256", headers={"kid": "k1"})


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "how",
    [
        "another key",
        "an unknown kid",
        "a kid that is a path",
        "its own key inside",
        "HS256 with the public key",
        "HS256 with a guess",
        "alg none with a signature",
        "a changed payload",
        "a blank signature",
    ],
)
async def test_a_forged_jwt_is_refused(gate: Inside, era: str, how: str) -> None:
    await assert_no_way_in(gate, forged(gate, how), era)


async def test_an_expired_jwt_is_refused_on_a_session_it_opened(gate: Inside) -> None:
    now = gate.clock.ms
    token = SIGNER.token(claims(gate))
    session = await Peer(gate.url, token, "legacy").connect()
    assert (await session.call("probe_echo")).code == "ok"
    gate.clock.ms += 3_600_000
    try:
        answer = await session.call("probe_echo")
        assert (answer.status, answer.error["data"]["code"]) == (401, "identity_expired")
    finally:
        gate.clock.ms = now


# sessions, runs, ids


async def test_a_session_serves_only_its_owner(gate: Inside) -> None:
    owner = await peer(gate, "legacy")
    thief = Peer(gate.url, gate.tokens["payer2"], "legacy", owner.session)
    stranger = Peer(gate.url, "", "legacy", owner.session)
    assert (await thief.call("probe_echo")).status == 404
    assert (await thief.rpc("tools/list")).status == 404
    assert (await thief.ask("DELETE", "/mcp", Mcp_Session_Id=owner.session)).status == 404
    assert (await stranger.call("probe_echo")).status == 401
    assert (await stranger.ask("DELETE", "/mcp", Mcp_Session_Id=owner.session)).status == 401
    assert (await owner.call("probe_echo")).code == "ok"
    assert (await owner.ask("DELETE", "/mcp", Mcp_Session_Id=owner.session)).status == 204
    assert (await owner.call("probe_echo")).status == 404


@pytest.mark.parametrize(
    "change",
    [
        lambda s: "",
        lambda s: "x",
        lambda s: s[:-1],
        lambda s: s + "A",
        lambda s: s.replace("2025-11-25", "2024-11-05"),
        lambda s: s.split(".")[0],
        lambda s: s * 20,
        lambda s: "../../" + s,
        lambda s: s[0].replace(s[0], "0" if s[0] != "0" else "1") + s[1:],
    ],
)
async def test_a_session_id_that_was_not_given_out_is_none(gate: Inside, change: Any) -> None:
    owner = await peer(gate, "legacy")
    assert (await owner.call("probe_echo", Mcp_Session_Id=change(owner.session))).status in {400, 404}


@pytest.mark.parametrize("era", ERAS)
async def test_a_run_serves_only_its_owner(gate: Inside, era: str) -> None:
    owner, thief = await peer(gate, era), await peer(gate, era, "payer2")
    started = await owner.call("run_start")
    run = re.search(r"run_[0-9a-f]{32}", json.dumps(started.result))
    assert run is not None
    mine = {"io.toolgate/run": run[0]}
    assert (await owner.call("probe_act", {"in": era}, mine)).code == "ok"
    taken = await thief.call("probe_act", {"in": era}, mine)
    assert taken.code == "invalid_arguments"
    invented = await thief.call("probe_act", {"in": era}, {"io.toolgate/run": f"run_{'0' * 32}"})
    assert invented.text == taken.text  # whether the run exists is not for others to know


@pytest.mark.parametrize("era", ERAS)
async def test_a_run_named_alike_by_two_agents_is_two_runs(gate: Inside, era: str) -> None:
    for agent in ("payer", "payer2"):
        named = await (await peer(gate, era, agent)).call("probe_act", {"by": agent}, {"io.toolgate/run": "invoices"})
        assert named.code == "ok"
    theirs = await events(gate)
    runs = [{e.run_id for e in theirs if e.tool == "probe.act" and e.agent == a} for a in ("payer", "payer2")]
    assert all(runs)
    assert not runs[0] & runs[1]


async def test_ids_hold_128_unguessable_bits(gate: Inside) -> None:
    sessions = [(await peer(gate, "legacy")).session for _ in range(30)]
    nonces = {session.split(".")[0] for session in sessions}
    known = await peer(gate)
    calls = {(await known.call("nothing")).result["_meta"]["io.toolgate/refusal"]["call"] for _ in range(30)}
    assert len(nonces) == len(calls) == 30
    assert all(re.fullmatch(r"[0-9a-f]{32}", nonce) for nonce in nonces)
    assert all(re.fullmatch(r"call_[0-9a-f]{32}", call) for call in calls)
    bits = "".join(f"{int(one.removeprefix('call_'), 16):0128b}" for one in nonces | calls)
    assert 0.45 < bits.count("1") / len(bits) < 0.55


# where it comes from


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:{port}.evil.example", "127.0.0.1:1", "", None,
     "localhost:{port}@evil.example", "127.1:{port}", "2130706433:{port}", "127.0.0.1:{port}, evil.example"],
)  # fmt: skip
async def test_a_host_that_is_not_ours_is_not_served(gate: Inside, host: str | None) -> None:
    known = await peer(gate)
    said = host if host is None else host.format(port=known.port)
    assert (await known.call("probe_echo", Host=said)).status in {400, 421}
    assert (await known.ask("GET", "/healthz", Host=said)).status in {400, 421}


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://127.0.0.1:{port}.evil.example", "https://127.0.0.1:{port}",
     "http://localhost", "file://", "http://127.0.0.1:{port}/", "http://user@127.0.0.1:{port}", "chrome-extension://x"],
)  # fmt: skip
async def test_an_origin_that_is_not_ours_may_not_call(gate: Inside, origin: str) -> None:
    known = await peer(gate)
    said = origin.format(port=known.port)
    assert (await known.call("probe_echo", Origin=said)).status == 403
    assert (await known.ask("GET", "/-/status", Origin=said)).status == 403


async def test_a_cors_preflight_is_granted_nothing(gate: Inside) -> None:
    known = await peer(gate)
    for origin in ("http://evil.example", f"http://127.0.0.1:{known.port}"):
        answer = await known.ask("OPTIONS", "/mcp", Origin=origin, Access_Control_Request_Method="POST")
        assert answer.status in {403, 405}
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "text/plain; application/json", "application/json-patch+json", "application/jsonx"],
)  # fmt: skip
async def test_what_a_browser_form_can_send_is_refused(gate: Inside, kind: str | None) -> None:
    known = await peer(gate)
    answer = await known.call("probe_echo", Content_Type=kind)
    assert answer.status == 415


async def test_a_compressed_body_is_refused(gate: Inside) -> None:
    known = await peer(gate)
    assert (await known.call("probe_echo", Content_Encoding="gzip")).status == 415


# broken HTTP


async def test_a_request_whose_length_is_said_twice_is_refused(gate: Inside) -> None:
    known = await peer(gate)
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
    for second in (str(len(body)), "5", "0"):
        twice = [*known.headers(body).items(), ("Content-Length", second)]
        assert (await known.send(known.head("POST", "/mcp", twice) + body)).status == 400


@pytest.mark.parametrize(
    "coding", ["chunked", " chunked", "xchunked", "chunked, identity", "identity", "\x0bchunked", "gzip, chunked"]
)
async def test_a_request_cannot_be_smuggled_behind_another(gate: Inside, coding: str) -> None:
    """Content-Length and Transfer-Encoding at once: whoever reads only one of them sees another second request."""
    known = await peer(gate)
    smuggled = known.head("GET", "/smuggled", known.headers().items())
    body = b"0\r\n\r\n" + smuggled
    lines = [*known.headers(body).items(), ("Transfer-Encoding", coding)]
    reader, writer = await asyncio.open_connection("127.0.0.1", known.port)
    writer.write(known.head("POST", "/mcp", lines) + body)
    first = await known.read(reader)
    assert first.status == 400
    writer.close()


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nx\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nx",
        b"5 ;\nhello",
    ],
)
async def test_a_broken_chunk_ends_the_connection(gate: Inside, chunks: bytes) -> None:
    known = await peer(gate)
    lines = {**known.headers(b""), "Transfer-Encoding": "chunked"}
    del lines["Content-Length"]
    assert (await known.send(known.head("POST", "/mcp", lines.items()) + chunks)).status == 400


async def test_a_flood_of_headers_ends_the_connection(gate: Inside) -> None:
    known = await peer(gate)
    many = [*known.headers().items(), *((f"X-{number}", "y" * 50) for number in range(2000))]
    assert (await known.send(known.head("GET", "/healthz", many))).status in {400, 431}
    assert (await known.send(known.head("GET", "/" + "a" * 200_000, known.headers().items()))).status in {400, 414, 431}


async def test_a_header_without_end_ends_the_connection(gate: Inside) -> None:
    known = await peer(gate)
    reader, writer = await asyncio.open_connection("127.0.0.1", known.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
    answering = asyncio.ensure_future(known.read(reader))
    try:
        for _ in range(640):  # 64 MB, if it were let
            writer.write(b"y" * 100_000)
            await writer.drain()
            if answering.done():
                break
    except ConnectionError:
        pass
    assert (await answering).status in {400, 431}
    writer.close()


async def test_a_slow_sender_delays_nobody(gate: Inside) -> None:
    known = await peer(gate)
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
    slow = [await asyncio.open_connection("127.0.0.1", known.port) for _ in range(50)]
    for number, (_, writer) in enumerate(slow):
        whole = known.head("POST", "/mcp", known.headers(body).items()) + body
        writer.write(whole[: (number + 1) * len(whole) // 60])
    assert (await known.call("probe_echo", {"n": 1})).code == "ok"
    for _, writer in slow:
        writer.close()


async def test_a_body_of_64_mb_is_refused_before_it_is_read(gate: Inside) -> None:
    known = await peer(gate)
    said = known.headers(b"", Content_Length=str(64 * 1024 * 1024))
    assert (await known.send(known.head("POST", "/mcp", said.items()) + b"{" * 1000)).status == 413
    untold = known.headers(b"", Content_Length=None, Transfer_Encoding="chunked")
    reader, writer = await asyncio.open_connection("127.0.0.1", known.port)
    writer.write(known.head("POST", "/mcp", untold.items()))
    answering = asyncio.ensure_future(known.read(reader))
    sent = 0
    while not answering.done() and sent < 64 * 1024 * 1024:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()
        sent += 65536
    assert (await answering).status == 413
    assert sent < 16 * 1024 * 1024
    writer.close()


# broken JSON

CALL = '{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"probe_echo","arguments":{}{}}}}}'
META = (
    ',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
)
BROKEN = {
    "nothing": b"",
    "no JSON": b"hello",
    "half": b'{"jsonrpc":"2.0","id":1',
    "bottomless": CALL.format('{"a":' * 5000 + "1" + "}" * 5000, META).encode(),
    "bottomless lists": b"[" * 200_000,
    "NaN": CALL.format('{"a":NaN}', META).encode(),
    "Infinity": CALL.format('{"a":-Infinity}', META).encode(),
    "a float out of range": CALL.format('{"a":1e999}', META).encode(),
    "an integer of 5000 digits": CALL.format('{"a":' + "9" * 5000 + "}", META).encode(),
    "a lone surrogate": CALL.format(r'{"a":"\ud800"}', META).encode(),
    "a lone surrogate as key": CALL.format(r'{"\udfff":1}', META).encode(),
    "a surrogate in UTF-8": CALL.format('{"a":"?"}', META).encode().replace(b"?", b"\xed\xa0\x80"),
    "UTF-16": CALL.format("{}", META).encode("utf-16"),
    "UTF-16 without mark": CALL.format("{}", META).encode("utf-16-le"),
    "a byte order mark": CALL.format("{}", META).encode("utf-8-sig"),
    "broken UTF-8": CALL.format('{"a":"?"}', META).encode().replace(b"?", b"\xff"),
    "overlong UTF-8": CALL.format('{"a":"?"}', META).encode().replace(b"?", b"\xc0\xaf"),
    "a duplicate key": CALL.format('{"a":1,"a":2}', META).encode(),
    "a duplicate key in disguise": CALL.format(r'{"a":1,"\u0061":2}', META).encode(),
    "duplicate params": CALL.format("{}", META).encode()[:-1] + b',"params":{"name":"probe_act"}}',
    "a duplicate name": CALL.format("{}", META + ',"name":"probe_act"').encode(),
    "a batch": b"[" + CALL.format("{}", META).encode() + b"]",
    "an empty batch": b"[]",
    "a text": b'"tools/call"',
    "null": b"null",
    "two requests": CALL.format("{}", META).encode() * 2,
    "a comment": CALL.format("{/**/}", META).encode(),
    "a control character": CALL.format('{"a":"\x00"}', META).encode(),
    "no version": b'{"id":1,"method":"tools/list","params":{}}',
    "version 1": b'{"jsonrpc":"1.0","id":1,"method":"tools/list","params":{}}',
    "params that are a list": b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}',
    "an id that is null": b'{"jsonrpc":"2.0","id":null,"method":"tools/list","params":{}}',
    "an id that is true": b'{"jsonrpc":"2.0","id":true,"method":"tools/list","params":{}}',
    "an id that is a list": b'{"jsonrpc":"2.0","id":[1],"method":"tools/list","params":{}}',
    "a method that is a number": b'{"jsonrpc":"2.0","id":1,"method":7,"params":{}}',
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_what_is_not_one_unambiguous_request_is_refused(gate: Inside, era: str, body: bytes) -> None:
    known = await peer(gate, era)
    before = len(received(gate.home / "probe"))
    said = {"Mcp_Session_Id": known.session} if era == "legacy" else {"MCP_Protocol_Version": "2026-07-28"}
    answer = await known.post(body, **said)
    assert answer.status == 400
    assert answer.error["code"] in {-32700, -32600}
    assert len(received(gate.home / "probe")) == before


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("number", [2**53, 2**53 + 1, 2**63, 2**64 + 1, -(2**70) - 1, 10**100 + 1, 123456789012345678])
async def test_a_huge_integer_arrives_exactly(gate: Inside, era: str, number: int) -> None:
    known = await peer(gate, era)
    answer = await known.call("probe_echo", {"number": number})
    assert answer.code == "ok"
    assert answer.result["structuredContent"]["got"] == {"number": number}
    assert f'"number":{number}' in received(gate.home / "probe")[-1]


@pytest.mark.parametrize("era", ERAS)
async def test_keys_that_differ_only_in_case_or_folding_are_other_keys(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    for name in ("Text", "TEXT", "te\u200bxt", "te\u017ft", "text ", "text\u0000", "ｔｅｘｔ"):
        answer = await known.call("probe_exact", {"text": "a", name: "b"})
        assert answer.code == "invalid_arguments", name
    both = {"stra\u00dfe": 1, "strasse": 2, "STRASSE": 3, "e\u0301": 4, "\u00e9": 5}
    assert (await known.call("probe_echo", both)).result["structuredContent"]["got"] == both


# the protocol


async def test_headers_that_say_otherwise_than_the_body_are_refused(gate: Inside) -> None:
    known = await peer(gate)
    for changes in (
        {"Mcp_Name": "probe_echo"},
        {"Mcp_Name": None},
        {"Mcp_Name": "PROBE_ACT"},
        {"Mcp_Method": "tools/list"},
        {"Mcp_Method": None},
        {"Mcp_Method": "tools/call, tools/list"},
    ):
        answer = await known.call("probe_act", {"a": 1}, **changes)
        assert (answer.status, answer.code) == (400, -32020), changes
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
    for name in ("Mcp-Name", "Mcp-Method", "MCP-Protocol-Version", "Mcp-Session-Id"):
        twice = [*known.headers(body).items(), (name, "a"), (name, "b")]
        assert (await known.send(known.head("POST", "/mcp", twice) + body)).status == 400


async def test_no_protocol_version_is_a_way_round(gate: Inside) -> None:
    """Whatever version a client claims: what its agent may not call, it cannot call."""
    clerk = await peer(gate, "modern", "clerk")
    session = await peer(gate, "legacy", "clerk")
    for version in ("1999-01-01", "2024-11-05", "2025-06-18", "2026-07-28", "9999-12-31", "", "2026-07-28, 2025-11-25"):
        modern = await clerk.call("probe_act", {"v": version}, MCP_Protocol_Version=version)
        legacy = await session.call("probe_act", {"v": version}, MCP_Protocol_Version=version)
        for answer in (modern, legacy):
            assert answer.status >= 400 or answer.code == "denied", (version, answer)
    assert not [line for line in received(gate.home / "probe") if '"v"' in line]


async def test_a_version_nobody_speaks_is_answered_with_those_there_are(gate: Inside) -> None:
    known = await peer(gate)
    said = {"io.modelcontextprotocol/protocolVersion": "1999-01-01"}
    answer = await known.call("probe_echo", {}, said, MCP_Protocol_Version="1999-01-01")
    assert (answer.status, answer.error["code"]) == (400, -32022)
    assert "2026-07-28" in answer.error["data"]["supported"]
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "1999-01-01"}}
    assert (await known.post(json.dumps(body).encode())).result["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "method",
    ["resources/read", "resources/list", "prompts/get", "completion/complete", "logging/setLevel",
     "sampling/createMessage", "tasks/get", "tools/Call", "tools/call ", "TOOLS/CALL",
     "rpc.discover", "__init__", "", "x" * 10_000],
)  # fmt: skip
async def test_other_methods_are_no_way_round(gate: Inside, era: str, method: str) -> None:
    known = await peer(gate, era)
    named = None if era == "legacy" else method.strip() or None
    params = {"name": "probe_act", "arguments": {}, "uri": "file:///etc/passwd"}
    answer = await known.rpc(method, params, Mcp_Method=named)
    assert "error" in answer.json
    assert answer.status in {200, 400, 404, 431}


# arguments and names


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"unknown": 1},
        {"text": 1},
        {"text": None},
        {"number": "1"},
        {"number": 1.5},
        {"number": True},
        {"text": "a", "__proto__": {"admin": True}},
        {"constructor": {"prototype": {"admin": True}}},
        {"text": ["a"]},
        {"text": {"$ref": "#"}},
        {"": 1},
    ],
    ids=str,
)
async def test_arguments_that_break_the_schema_are_not_passed_on(
    gate: Inside, era: str, arguments: dict[str, Any]
) -> None:
    known = await peer(gate, era)
    before = len(received(gate.home / "probe"))
    answer = await known.call("probe_exact", arguments)
    assert (answer.status, answer.code) == (200, "invalid_arguments")
    assert "probe_exact" in answer.text
    assert len(received(gate.home / "probe")) == before


@pytest.mark.parametrize("era", ERAS)
async def test_params_of_another_shape_are_refused(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    for params in (
        {"name": 7},
        {"name": None},
        {"name": ["probe_echo"]},
        {},
        {"name": "probe_echo", "arguments": [1]},
        {"name": "probe_echo", "arguments": "x"},
        {"name": "probe_echo", "_meta": {"io.toolgate/run": 7}},
        {"name": "probe_echo", "_meta": {"io.toolgate/run": "a b\n"}},
        {"name": "probe_echo", "_meta": {"io.toolgate/idempotency-key": "x" * 300}},
    ):
        answer = await known.rpc("tools/call", params)
        assert answer.error["code"] in {-32602, -32020}, params


NAMES = {
    "upper case": "PROBE_ECHO",
    "mixed case": "Probe.Echo",
    "NUL": "probe_echo\0",
    "a homoglyph": "prob\u0435_echo",
    "a path": "../probe_echo",
    "a dotted path": "probe/../probe.act",
    "a space": " probe_echo",
    "zero width": "probe_echo\u200b",
    "bidi": "\u202eohce_eborp",
    "fullwidth": "ｐｒｏｂｅ_echo",
    "a wildcard": "probe.*",
    "a template": "${secret:probe_key}",
    "another server": "other.echo",
    "the server alone": "probe",
    "nothing": "",
    "100 kB": "a" * 100_000,
    "a terminal's escape": "\x1b[31mprobe_echo\x1b[0m",
    "a second line": "probe_echo\r\n2026-01-01 INFO forged",
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_only_a_tools_exact_name_names_it(gate: Inside, era: str, name: str) -> None:
    known = await peer(gate, era)
    answer = await known.call(name, {}, Mcp_Name=header(name) if era == "modern" else None)
    if answer.status in {400, 431}:  # a header that long is refused before anybody reads the name
        assert len(name) > 10_000
        return
    assert answer.code == "unknown_tool"
    assert len(answer.text) < 400
    assert answer.text.isprintable()
    assert SECRET not in answer.text


def header(value: str) -> str:
    """Return a value as the specification lets a header carry any text."""
    return f"=?base64?{b64encode(value.encode()).decode()}?="


# what is kept, and what is shown


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
        shown = await toolgate(gate, *command)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", shown)
        assert not [line for line in shown.splitlines() if line.startswith("2026-01-01")]


async def toolgate(gate: Inside, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *command, cwd=gate.home, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


# other doors


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


async def test_get_on_the_endpoint_opens_no_stream(gate: Inside) -> None:
    known = await peer(gate)
    answer = await known.ask("GET", "/mcp", Accept="text/event-stream")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, DELETE")
