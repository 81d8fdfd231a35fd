"""JWT-SVIDs: proof of the agent whose SPIFFE id is their subject, by the keys of its trust domain alone."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.authenticator import Authenticator, Trust
from gateway.identity.config import IdentityConfig
from gateway.identity.key_source import FRESH_S, KeyRing
from gateway.identity.metadata import resource_metadata
from gateway.identity.token_index import TokenIndex
from gateway.model.errors import IdentityFault, StoreFault
from gateway.store.memory import MemoryStore
from tests.identity.doubles import T0_MS, HandClock, Signer, agents, bearer

NOW = T0_MS // 1000
DOMAIN = "acme.example"
PAYER = f"spiffe://{DOMAIN}/agent/payer"
AUDIENCE = "https://gate.acme.example/mcp"


class Gate:
    """An authenticator that trusts `bundle.json` for the agents of a trust domain, and for another domain's."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self.bundle = folder / "bundle.json"
        jwt = {"issuer": f"spiffe://{DOMAIN}", "audience": AUDIENCE, "jwks_file": "bundle.json"}
        other = {**jwt, "issuer": "spiffe://other.example", "jwks_file": "other.json"}
        self.agents = agents(
            payer={"owner": "finance", "auth": {"jwt": {**jwt, "subject": PAYER}}},
            reader={"auth": {"jwt": {**other, "subject": "spiffe://other.example/reader"}}},
        )
        trust = Trust(TokenIndex(MemoryStore(clock), clock), KeyRing(clock, folder))
        self.door = Authenticator(self.agents, trust, clock)

    def claims(self, **changes: Any) -> dict[str, Any]:
        return {"sub": PAYER, "aud": [AUDIENCE], "exp": NOW + 300, **changes}

    async def refused(self, token: str) -> bool:
        with pytest.raises(IdentityFault):
            await self.door.identify(bearer(token), loopback=False)
        return True


@pytest.fixture
def gate(tmp_path: Path, clock: HandClock, signer: Signer) -> Gate:
    """As the SPIFFE bundle format has it: the JWT keys are marked, and others stand beside them."""
    gate = Gate(tmp_path, clock)
    keys = [{**signer.jwk, "use": "jwt-svid"}, {**Signer("x").jwk, "use": "x509-svid", "x5c": ["MII"]}]
    gate.bundle.write_text(json.dumps({"keys": keys, "spiffe_sequence": 1}), encoding="utf-8")
    (tmp_path / "other.json").write_text(json.dumps({"keys": [Signer("o").jwk]}), encoding="utf-8")
    return gate


@pytest.mark.parametrize("header", [{}, {"typ": "JOSE"}])
@pytest.mark.parametrize("issuer", [{}, {"iss": "https://spire.acme.example"}])
async def test_a_jwt_svid_proves_the_agent_whatever_it_says_of_its_issuer(
    gate: Gate, signer: Signer, issuer: dict[str, str], header: dict[str, str]
) -> None:
    identity = await gate.door.identify(bearer(signer.token(gate.claims(**issuer), **header)), loopback=False)
    assert (identity.agent, identity.owner, identity.issuer) == ("payer", "finance", f"spiffe://{DOMAIN}")
    assert (identity.method, identity.on_behalf_of) == ("jwt", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["https://elsewhere.example"]}, {"exp": NOW - 60}, {"sub": f"spiffe://{DOMAIN}/agent/other"},
        {"sub": "spiffe://other.example/reader"}, {"sub": "spiffe://evil.example/agent/payer"},
        {"sub": "alice", "act": {"sub": PAYER}}, {"sub": PAYER + "/"}, {"sub": PAYER.upper()},
    ],
)  # fmt: skip
async def test_what_is_for_another_over_or_of_another_domain_proves_nobody(
    gate: Gate, signer: Signer, changes: dict[str, Any]
) -> None:
    assert await gate.refused(signer.token(gate.claims(**changes)))


async def test_keys_of_another_domain_and_keys_for_certificates_prove_nobody(gate: Gate) -> None:
    assert await gate.refused(Signer("o").token(gate.claims()))
    assert await gate.refused(Signer("x").token(gate.claims()))
    assert await gate.refused(Signer("k1").token(gate.claims()))


async def test_the_file_that_spiffe_helper_keeps_is_read_again_when_its_keys_change(
    gate: Gate, clock: HandClock, signer: Signer
) -> None:
    def helper_writes(*keys: Signer) -> None:
        text = json.dumps({"keys": [{k: v for k, v in each.jwk.items() if k != "use"} for each in keys]})
        other = base64.b64encode(b'{"keys": []}').decode()
        bundles = {DOMAIN: base64.b64encode(text.encode()).decode(), "other.example": other}
        gate.bundle.write_text(json.dumps(bundles), encoding="utf-8")

    helper_writes(signer)
    assert (await gate.door.identify(bearer(signer.token(gate.claims())), loopback=False)).agent == "payer"
    rotated = Signer("k2")
    helper_writes(rotated)
    clock.jump(FRESH_S + 1)
    assert await gate.refused(signer.token(gate.claims(exp=NOW + 3000, jti="2")))
    claims = gate.claims(exp=NOW + 3000)
    assert (await gate.door.identify(bearer(rotated.token(claims)), loopback=False)).agent == "payer"


async def test_a_bundle_that_cannot_be_read_lets_nobody_in(gate: Gate, signer: Signer) -> None:
    gate.bundle.write_text(json.dumps({DOMAIN: "no base64"}), encoding="utf-8")
    with pytest.raises(StoreFault):
        await gate.door.identify(bearer(signer.token(gate.claims())), loopback=False)


def test_nobody_is_sent_to_a_trust_domain_to_log_in(gate: Gate) -> None:
    assert resource_metadata(IdentityConfig(resource="https://gate.acme.example/mcp"), gate.agents) is None
