"""Who calls: tokens and JWTs of every wrong kind, and other people's sessions and runs."""

import hashlib
import hmac
import json
import re
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from tests.identity.doubles import Signer, b64
from tests.live.front.attack import AUDIENCE, ISSUER, SIGNER, claims, events, peer
from tests.live.inside import Inside
from tests.live.raw import ERAS, Peer

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    run = re.search(r"run_[0-9a-f]{41}", json.dumps(started.result))
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
    assert all(re.fullmatch(r"call_[0-9a-f]{41}", call) for call in calls)  # nine digits tell when, the others nothing
    bits = "".join(f"{int(one[-32:], 16):0128b}" for one in nonces | calls)
    assert 0.45 < bits.count("1") / len(bits) < 0.55
