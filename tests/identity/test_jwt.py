"""JWTs: pinned issuer, audience, algorithm and key; the user an agent acts for."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.identity.authenticator import Authenticator, Trust
from gateway.identity.jwt_verifier import CACHE_MS, CACHE_SIZE
from gateway.identity.key_source import COOL_DOWN_S, FRESH_S, STALE_S, KeyRing
from gateway.identity.token_index import TokenIndex
from gateway.model.errors import IdentityFault, StoreFault
from gateway.store.memory import MemoryStore
from tests.identity.doubles import T0_MS, HandClock, Signer, agents, b64, bearer
from tests.identity.issuer import Issuer

NOW = T0_MS // 1000


class Gate:
    """An authenticator that trusts one issuer for two agents."""

    def __init__(self, issuer: Issuer, clock: HandClock, **auth: Any) -> None:
        self.issuer = issuer
        self.clock = clock
        self.keys = KeyRing(clock)
        self._auth = {"issuer": issuer.url, "audience": "toolgate", "jwks_url": issuer.jwks_url, **auth}
        self.door = Authenticator(
            agents(
                payer={"owner": "finance", "auth": {"jwt": self.auth("agent:payer")}},
                reader={"auth": {"jwt": self.auth("agent:reader")}},
            ),
            Trust(TokenIndex(MemoryStore(clock), clock), self.keys),
            clock,
        )

    def auth(self, subject: str) -> dict[str, Any]:
        return {**self._auth, "subject": subject}

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {"iss": self.issuer.url, "aud": "toolgate", "sub": "agent:payer", "exp": NOW + 600, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    async def enter(self, token: str) -> Any:
        return await self.door.identify(bearer(token), loopback=False)

    async def refusal(self, token: str) -> IdentityFault:
        with pytest.raises(IdentityFault) as refusal:
            await self.enter(token)
        return refusal.value


@pytest.fixture
def gate(issuer: Issuer, clock: HandClock, signer: Signer, rsa_signer: Signer) -> Gate:
    issuer.serve_keys(signer.jwk, rsa_signer.jwk)
    return Gate(issuer, clock)


async def test_a_jwt_proves_the_agent_its_subject_names(gate: Gate, signer: Signer, rsa_signer: Signer) -> None:
    identity = await gate.enter(signer.token(gate.claims(scope="pay read", jti="t-1")))
    assert (identity.agent, identity.method, identity.owner) == ("payer", "jwt", "finance")
    assert (identity.on_behalf_of, identity.delegation) == (None, ())
    assert (identity.scopes, identity.issuer) == (("pay", "read"), gate.issuer.url)
    assert (identity.credential_id, identity.expires_at_ms) == ("jwt:t-1", (NOW + 600) * 1000)
    other = await gate.enter(rsa_signer.token(gate.claims(sub="agent:reader", iat=NOW, aud=["x", "toolgate"])))
    assert (other.agent, other.credential_id) == ("reader", f"jwt:{NOW}")
    assert gate.issuer.asked == ["/keys"]


@pytest.mark.parametrize("algorithm", ["ES384", "ES512", "PS256", "EdDSA"])
async def test_every_algorithm_that_is_pinned_works(issuer: Issuer, clock: HandClock, algorithm: str) -> None:
    signer = Signer("k", algorithm)
    issuer.serve_keys(signer.jwk)
    gate = Gate(issuer, clock, algorithms=[algorithm])
    assert (await gate.enter(signer.token(gate.claims()))).agent == "payer"


async def test_with_act_the_actor_is_the_agent_and_the_subject_is_the_user(gate: Gate, signer: Signer) -> None:
    identity = await gate.enter(signer.token(gate.claims(sub="alice", act={"sub": "agent:payer"})))
    assert (identity.agent, identity.on_behalf_of) == ("payer", "alice")
    assert identity.delegation == ("agent:payer",)


async def test_nested_actors_become_the_delegation_chain(gate: Gate, signer: Signer) -> None:
    chain = {"sub": "agent:payer", "iss": gate.issuer.url, "act": {"sub": "agent:planner", "act": {"sub": "app"}}}
    identity = await gate.enter(signer.token(gate.claims(sub="alice", act=chain)))
    assert identity.delegation == ("agent:payer", "agent:planner", "app")


async def test_a_subject_is_no_agent_while_somebody_else_acts(gate: Gate, signer: Signer) -> None:
    for act in ({"sub": "agent:other"}, {"sub": "alice", "act": {"sub": "agent:payer"}}):
        assert (await gate.refusal(signer.token(gate.claims(sub="agent:payer", act=act)))).code == "unauthenticated"


@pytest.fixture
def desk(issuer: Issuer, clock: HandClock, signer: Signer) -> Gate:
    """As `gate`, where the agent `desk` is an OAuth client in which users log in."""
    issuer.serve_keys(signer.jwk)
    gate = Gate(issuer, clock)
    jwt = {key: value for key, value in gate.auth("").items() if key != "subject"}
    known = {"payer": {"auth": {"jwt": gate.auth("agent:payer")}}, "desk": {"auth": {"jwt": {**jwt, "client": "desk"}}}}
    gate.door.replace(agents(**known))
    return gate


@pytest.mark.parametrize("named", [{"client_id": "desk"}, {"azp": "desk"}, {"client_id": "desk", "azp": "desk"}])
async def test_a_users_token_proves_the_client_that_got_it_for_them(
    desk: Gate, signer: Signer, named: dict[str, str]
) -> None:
    identity = await desk.enter(signer.token(desk.claims(sub="alice", **named)))
    assert (identity.agent, identity.on_behalf_of, identity.delegation) == ("desk", "alice", ())
    itself = await desk.enter(signer.token(desk.claims(sub="desk", **named)))
    assert (itself.agent, itself.on_behalf_of) == ("desk", None)
    payer = await desk.enter(signer.token(desk.claims(**named)))
    assert (payer.agent, payer.on_behalf_of) == ("payer", None)  # whose subject is an agent's is that agent


@pytest.mark.parametrize(
    "claims",
    [
        {}, {"client_id": "other"}, {"client_id": "desk", "azp": "other"}, {"client_id": ["desk"]}, {"azp": {"a": 1}},
        {"client_id": "desk", "aud": "elsewhere"}, {"client_id": "desk", "iss": "https://elsewhere.example"},
        {"client_id": "desk", "act": {"sub": "agent:other"}}, {"client_id": "desk", "sub": "al\nice"},
    ],
)  # fmt: skip
async def test_a_users_token_that_another_client_got_proves_nobody(
    desk: Gate, signer: Signer, claims: dict[str, Any]
) -> None:
    assert (await desk.refusal(signer.token(desk.claims(**{"sub": "alice", **claims})))).code == "unauthenticated"


def deep(levels: int) -> dict[str, Any]:
    return {"sub": "agent:payer", **({"act": deep(levels - 1)} if levels else {})}


@pytest.mark.parametrize(
    "act",
    ["agent:payer", [], {}, {"sub": ""}, {"sub": 7}, {"sub": "a\nb"}, {"sub": "x" * 257}, deep(8), False, 0,
     {"sub": "agent:payer", "iss": "https://elsewhere.example"}],
)  # fmt: skip
async def test_a_malformed_actor_is_refused(gate: Gate, signer: Signer, act: Any) -> None:
    assert (await gate.refusal(signer.token(gate.claims(sub="alice", act=act)))).code == "unauthenticated"


@pytest.mark.parametrize("sub", ["", "x" * 257, "al\nice", "al\u202eice"])
async def test_a_user_whose_name_is_no_name_is_refused(gate: Gate, signer: Signer, sub: str) -> None:
    await gate.refusal(signer.token(gate.claims(sub=sub, act={"sub": "agent:payer"})))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example"}, {"iss": None}, {"iss": 7}, {"aud": None}, {"aud": "another-gateway"},
        {"aud": []}, {"aud": {"toolgate": 1}}, {"aud": ["toolgate", 7]}, {"sub": None}, {"sub": "alice"}, {"sub": 7},
        {"exp": None}, {"exp": "tomorrow"}, {"exp": True}, {"exp": -1}, {"exp": 10**15}, {"exp": [NOW]},
        {"nbf": NOW + 31}, {"iat": NOW + 31}, {"nbf": "x"}, {"iat": None, "nbf": 10**15}, {"jti": 7},
    ],
)  # fmt: skip
async def test_wrong_claims_are_refused_alike(gate: Gate, signer: Signer, changes: Mapping[str, Any]) -> None:
    token = jwt.api_jws.encode(_json(gate.claims(**changes)), signer.private, "ES256", headers={"kid": "k1"})
    refusal = await gate.refusal(token)
    assert refusal.code == "unauthenticated"
    assert refusal.message == (await gate.refusal("nonsense")).message


def _json(value: Any) -> bytes:
    return jwt.api_jwt.json.dumps(value).encode()


async def test_expiry_is_said_only_when_the_signature_is_right(gate: Gate, signer: Signer) -> None:
    claims = gate.claims(exp=NOW - 30)
    assert (await gate.refusal(signer.token(claims))).code == "identity_expired"
    assert (await gate.refusal(Signer().token(claims))).code == "unauthenticated"


async def test_another_machines_clock_may_differ_by_the_configured_skew(gate: Gate, signer: Signer) -> None:
    await gate.enter(signer.token(gate.claims(exp=NOW - 29)))
    await gate.enter(signer.token(gate.claims(nbf=NOW + 30, iat=NOW + 30)))


async def test_a_token_that_has_run_out_is_not_let_in_from_memory(gate: Gate, signer: Signer) -> None:
    token = signer.token(gate.claims(exp=NOW + 10))
    first = await gate.enter(token)
    assert gate.door.identify_cached(bearer(token), loopback=False) is first
    gate.clock.jump(10)
    assert gate.door.identify_cached(bearer(token), loopback=False) is None
    assert await gate.enter(token) == first  # within the skew, by verifying again each time
    assert gate.door.identify_cached(bearer(token), loopback=False) is None
    gate.clock.jump(30)
    assert (await gate.refusal(token)).code == "identity_expired"


async def test_a_withdrawn_key_stops_counting_although_its_token_was_seen_before(
    gate: Gate, signer: Signer, rsa_signer: Signer
) -> None:
    token = signer.token(gate.claims(exp=NOW + 86_400))
    await gate.enter(token)
    gate.issuer.serve_keys(rsa_signer.jwk)
    gate.clock.jump(max(CACHE_MS / 1000, FRESH_S) + 1)
    assert (await gate.refusal(token)).code == "unauthenticated"


async def test_memory_for_verified_tokens_is_bounded(gate: Gate, signer: Signer) -> None:
    first = signer.token(gate.claims(jti="first"))
    await gate.enter(first)
    verifier = gate.door._roster.jwts
    for number in range(CACHE_SIZE):
        verifier._remember(f"filler {number}", await gate.enter(first), NOW + 600)
    assert len(verifier._verified) == CACHE_SIZE
    verifier._remember("one more", await gate.enter(first), NOW + 600)
    assert verifier.cached(first) is not None  # used all along: others had to go
    assert verifier.cached("filler 0") is None


async def test_a_forged_signature_is_refused(gate: Gate, signer: Signer) -> None:
    head, body, signature = signer.token(gate.claims()).split(".")
    other = signer.token(gate.claims(sub="agent:reader")).split(".")[2]
    for forged in (f"{head}.{body}.{other}", f"{head}.{body}.", f"{head}.{body}", f"{head}.{b64({})}.{signature}"):
        assert (await gate.refusal(forged)).code == "unauthenticated"
    assert (await gate.refusal(Signer("k1").token(gate.claims()))).code == "unauthenticated"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 7, [], "HS256", "ES256K"])
async def test_the_token_has_no_say_in_the_algorithm(gate: Gate, signer: Signer, algorithm: Any) -> None:
    body, signature = signer.token(gate.claims()).split(".")[1:]
    for end in ("", signature):
        await gate.refusal(f"{b64({'alg': algorithm, 'typ': 'JWT', 'kid': 'k1'})}.{body}.{end}")
    await gate.refusal(f"{b64({'typ': 'JWT', 'kid': 'k1'})}.{body}.{signature}")


async def test_the_public_key_is_no_hmac_secret(gate: Gate, rsa_signer: Signer) -> None:
    public = rsa_signer.private.public_key()
    for key in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ):
        signed = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{b64(gate.claims())}"
        await gate.refusal(f"{signed}.{b64(hmac.digest(key, signed.encode(), hashlib.sha256))}")


async def test_an_algorithm_that_fits_the_key_but_is_not_pinned_is_refused(gate: Gate, rsa_signer: Signer) -> None:
    token = jwt.encode(gate.claims(), rsa_signer.private, "PS256", headers={"kid": "rsa"})
    assert (await gate.refusal(token)).code == "unauthenticated"


@pytest.mark.parametrize(
    "header",
    [{"kid": "k2"}, {"kid": ""}, {"kid": "../../dev/null"}, {"kid": "k1' OR 1=1"}, {"typ": "logout+jwt"}, {"typ": 7},
     {"crit": ["exp"]}, {"crit": ["b64"], "b64": False}],
)  # fmt: skip
async def test_a_strange_header_is_refused(gate: Gate, signer: Signer, header: Mapping[str, Any]) -> None:
    token = signer.token(gate.claims())
    head = b64({"alg": "ES256", "typ": "JWT", "kid": "k1", **header})
    signed = f"{head}.{token.split('.')[1]}"
    signature = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), signer.private)
    await gate.refusal(f"{signed}.{b64(signature)}")


@pytest.mark.parametrize("kid", [7, None, [], {}])
async def test_a_kid_that_is_no_text_names_no_key(gate: Gate, signer: Signer, kid: Any) -> None:
    signed = f"{b64({'alg': 'ES256', 'kid': kid})}.{b64(gate.claims())}"
    signature = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), signer.private)
    await gate.refusal(f"{signed}.{b64(signature)}")


async def test_a_token_without_kid_takes_the_only_key_that_fits(gate: Gate, signer: Signer) -> None:
    assert (await gate.enter(jwt.encode(gate.claims(), signer.private, "ES256"))).agent == "payer"
    gate.issuer.serve_keys(signer.jwk, Signer("k2").jwk)
    gate.clock.jump(FRESH_S + 1)
    refusal = await gate.refusal(jwt.encode(gate.claims(jti="2"), signer.private, "ES256"))
    assert refusal.detail == "no key of the issuer fits"


async def test_a_header_key_or_key_address_is_never_used(gate: Gate) -> None:
    attacker = Signer("evil")
    for header in ({"jwk": attacker.jwk}, {"jku": gate.issuer.url + "/evil"}, {"x5u": gate.issuer.url + "/evil"}):
        await gate.refusal(attacker.token(gate.claims(), **header))
    assert "/evil" not in gate.issuer.asked


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b"{", b"[" * 3000, b'{"a":1,"a":2}', b"\xff\xfe{\x00}\x00", b'{"exp":NaN}', b'{"exp":1e999}'],
)
async def test_a_payload_that_is_no_plain_json_object_is_refused(gate: Gate, signer: Signer, payload: bytes) -> None:
    await gate.refusal(jwt.api_jws.encode(payload, signer.private, "ES256", headers={"kid": "k1"}))


async def test_duplicate_claims_are_refused_whichever_one_is_right(gate: Gate, signer: Signer) -> None:
    text = _json(gate.claims())
    for payload in (text[:-1] + b',"sub":"agent:reader"}', b'{"aud":"x",' + text[1:]):
        await gate.refusal(jwt.api_jws.encode(payload, signer.private, "ES256", headers={"kid": "k1"}))


async def test_an_oversized_token_is_refused_before_anything_is_looked_at(gate: Gate, signer: Signer) -> None:
    await gate.refusal(signer.token(gate.claims(padding="x" * 8192)))
    assert gate.issuer.asked == []


async def test_a_token_for_nobody_costs_the_issuer_nothing(gate: Gate) -> None:
    for claims in (gate.claims(iss="https://x.example"), gate.claims(aud="other"), gate.claims(sub="alice")):
        await gate.refusal(Signer().token(claims))
    assert gate.issuer.asked == []


async def test_one_subject_under_two_audiences_must_choose(issuer: Issuer, clock: HandClock, signer: Signer) -> None:
    issuer.serve_keys(signer.jwk)
    gate = Gate(issuer, clock)
    same = {"issuer": issuer.url, "subject": "agent:payer", "jwks_url": issuer.jwks_url}
    gate.door.replace(
        agents(
            payer={"auth": {"jwt": {**same, "audience": "one"}}}, twin={"auth": {"jwt": {**same, "audience": "two"}}}
        )
    )
    assert (await gate.enter(signer.token(gate.claims(aud="two")))).agent == "twin"
    await gate.refusal(signer.token(gate.claims(aud=["one", "two"])))


async def test_where_no_agent_uses_jwts_every_jwt_is_refused(clock: HandClock, signer: Signer) -> None:
    door = Authenticator(agents(payer={}), Trust(TokenIndex(MemoryStore(clock), clock), KeyRing(clock)), clock)
    with pytest.raises(IdentityFault):
        await door.identify(bearer(signer.token({"iss": "x", "sub": "payer", "aud": "y", "exp": NOW})), loopback=True)


async def test_while_the_keys_cannot_be_had_nobody_is_let_in_and_the_agent_may_retry(
    gate: Gate, signer: Signer
) -> None:
    gate.issuer.answer("/keys", "500 Oops")
    with pytest.raises(StoreFault) as refusal:
        await gate.enter(signer.token(gate.claims()))
    assert refusal.value.retryable
    assert gate.issuer.url not in refusal.value.message


async def test_a_reload_while_a_token_is_being_verified_has_the_last_word(gate: Gate, signer: Signer) -> None:
    for remaining, refused in (({"reader": {}}, True), ({"payer": {"auth": {"jwt": gate.auth("agent:payer")}}}, False)):
        gate.issuer.hang("/keys")
        entering = asyncio.create_task(gate.enter(signer.token(gate.claims())))
        await gate.issuer.hanging.wait()
        gate.door.replace(agents(**remaining))
        gate.issuer.serve_keys(signer.jwk)
        gate.issuer.go_on()
        [result] = await asyncio.gather(entering, return_exceptions=True)
        assert isinstance(result, IdentityFault) is refused
        assert refused or result.agent == "payer"
        gate = Gate(gate.issuer, gate.clock)


async def test_a_new_key_is_found_when_its_first_token_comes(gate: Gate, signer: Signer) -> None:
    await gate.enter(signer.token(gate.claims()))
    rotated = Signer("k2")
    gate.issuer.serve_keys(signer.jwk, rotated.jwk)
    gate.clock.jump(COOL_DOWN_S)
    assert (await gate.enter(rotated.token(gate.claims()))).agent == "payer"
    assert gate.issuer.asked == ["/keys", "/keys"]


async def test_unknown_key_ids_cannot_make_the_gateway_storm_the_issuer(gate: Gate) -> None:
    for number in range(50):
        await gate.refusal(Signer(f"unknown-{number}").token(gate.claims()))
    assert gate.issuer.asked == ["/keys"]
    gate.clock.jump(COOL_DOWN_S)
    await asyncio.gather(*(gate.refusal(Signer(f"k-{n}").token(gate.claims())) for n in range(20)))
    assert gate.issuer.asked == ["/keys", "/keys"]


async def test_an_issuer_that_is_down_is_bridged_with_known_keys_for_a_bounded_time(gate: Gate, signer: Signer) -> None:
    await gate.enter(signer.token(gate.claims()))
    gate.issuer.answer("/keys", "503 Down")
    gate.clock.jump(STALE_S)
    late = NOW + STALE_S + 600
    await gate.enter(signer.token(gate.claims(exp=late)))
    gate.clock.jump(1)
    with pytest.raises(StoreFault):
        await gate.enter(signer.token(gate.claims(exp=late, jti="2")))
