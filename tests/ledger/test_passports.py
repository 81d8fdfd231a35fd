"""What a passport states, and that nobody but the gateway can have stated it."""

import base64
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.ledger.passports import PASSPORT, Bearer, Head, Step, head_of, passport, read_passport
from gateway.ledger.signing import NotSigned, SigningKey
from gateway.model.errors import StoreFault
from gateway.model.facts import RunRef
from gateway.model.identity import Child, Identity
from gateway.store.memory import MemoryStore
from tests.fixtures.clock import FakeClock

NOW_S = 1_800_000_000
ISSUED = {"iss": "https://gate.example", "jti": "pass_1", "iat": NOW_S, "exp": NOW_S + 900}
STEP = Step("call_1", "fraud.check", "payer", "2027-01-15T08:00:00.000+00:00", "succeeded", "sha256:ab")
PAYER = Identity("payer", "token", "tg_1", owner="finance@acme.example", on_behalf_of="ann")
BEARER = Bearer(PAYER, RunRef("run_1", "payer/ann", "handle"), ["fraud.check"], [{"of": "org", "left": "3"}])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    folder: Path = tmp_path_factory.mktemp("key")
    return SigningKey.load(folder)


def issued(key: SigningKey, **more: Any) -> str:
    return passport(key, BEARER, {**ISSUED, **more}, Head(7, "ab"), (1, [STEP]))


def refusal(key: SigningKey, token: str, now_s: int = NOW_S) -> str:
    with pytest.raises(NotSigned) as refused:
        read_passport(token, key.jwks(), now_s * 1000)
    return str(refused.value)


def test_a_passport_says_who_works_for_whom_on_what_and_where_the_ledger_ends(key: SigningKey) -> None:
    claims = read_passport(issued(key, aud="payments"), key.jwks(), NOW_S * 1000)
    assert claims == {
        **ISSUED,
        "aud": "payments",
        "sub": "payer",
        "on_behalf_of": "ann",
        "owner": "finance@acme.example",
        "run": "run_1",
        "run_owner": "payer/ann",
        "scopes": ["fraud.check"],
        "budgets": [{"of": "org", "left": "3"}],
        "ledger": {"seq": 7, "hash": "ab"},
        "steps": {
            "count": 1,
            "last": [
                {
                    "call": "call_1",
                    "tool": "fraud.check",
                    "by": "payer",
                    "at": STEP.at,
                    "outcome": "succeeded",
                    "arguments": "sha256:ab",
                }
            ],
        },
    }


def test_a_childs_passport_names_everybody_above_it(key: SigningKey) -> None:
    child = Child("tg_2", "payer:reader:ocr", "run_1", ("fraud.*",), 2)
    bearer = replace(BEARER, identity=replace(PAYER, child=child, on_behalf_of=None))
    claims = read_passport(passport(key, bearer, ISSUED, Head(7, "ab"), (0, [])), key.jwks(), NOW_S * 1000)
    assert claims["act"] == {"sub": "payer:reader:ocr", "act": {"sub": "payer:reader"}}
    assert (claims["sub"], "on_behalf_of" in claims) == ("payer", False)


def test_a_passport_is_good_from_when_it_was_issued_until_it_expires(key: SigningKey) -> None:
    token = issued(key)
    assert read_passport(token, key.jwks(), (NOW_S + 899) * 1000)["jti"] == "pass_1"
    assert "has expired at 2027-01-15T08:15:00+00:00" in refusal(key, token, NOW_S + 900)
    assert read_passport(token, key.jwks(), (NOW_S - 60) * 1000)  # clocks differ
    assert "from the future" in refusal(key, token, NOW_S - 61)
    assert "has expired at -9999999999999999" in refusal(key, issued(key, exp=-9999999999999999))


@pytest.mark.parametrize("name", ["iss", "sub", "jti", "iat", "exp", "run", "scopes", "ledger", "steps"])
def test_a_statement_that_lacks_what_a_passport_says_is_none(key: SigningKey, name: str) -> None:
    whole = read_passport(issued(key), key.jwks(), NOW_S * 1000)
    without = {each: value for each, value in whole.items() if each != name}
    assert f"{name!r} as a passport does" in refusal(key, key.sign(without, PASSPORT))


@pytest.mark.parametrize("wrong", [{"iat": 1.5}, {"exp": True}, {"run": 1}, {"scopes": "*"}, {"steps": []}])
def test_a_statement_that_says_it_otherwise_is_none(key: SigningKey, wrong: dict[str, Any]) -> None:
    whole = read_passport(issued(key), key.jwks(), NOW_S * 1000)
    assert "as a passport does" in refusal(key, key.sign({**whole, **wrong}, PASSPORT))


@pytest.mark.parametrize("head", [{}, {"seq": "7", "hash": "ab"}, {"seq": 7}, {"seq": True, "hash": "ab"}])
def test_a_statement_that_does_not_say_where_the_ledger_ends_is_none(key: SigningKey, head: dict[str, Any]) -> None:
    whole = read_passport(issued(key), key.jwks(), NOW_S * 1000)
    assert "where the ledger ended" in refusal(key, key.sign({**whole, "ledger": head}, PASSPORT))


def test_another_statement_of_the_gateway_is_no_passport(key: SigningKey) -> None:
    claims = read_passport(issued(key), key.jwks(), NOW_S * 1000)
    assert "is no toolgate-passport+jwt" in refusal(key, key.sign(claims, "toolgate-head+jwt"))


def test_a_forger_who_knows_all_but_the_key_is_found_out(key: SigningKey) -> None:
    token = issued(key)
    head, body, signature = token.split(".")
    claims = read_passport(token, key.jwks(), NOW_S * 1000)
    names = jwt.get_unverified_header(token)
    [public] = key.jwks()["keys"]
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = {
        "no signature": f"{head}.{body}.",
        "none": jwt.encode(claims, None, "none", headers=names | {"alg": "none"}),
        "shared secret": _signed_with_the_public_key(claims, names, json.dumps(public).encode()),
        "another key": jwt.encode(claims, stranger, "ES256", headers=names),
        "another kid": jwt.encode(claims, stranger, "ES256", headers=names | {"kid": "mine"}),
        "no kid": jwt.encode(claims, stranger, "ES256", headers={"typ": names["typ"]}),
        "another body": f"{head}.{_part(claims | {'sub': 'root'})}.{signature}",
        "another head": f"{_part(names | {'kid': names['kid'], 'x': 1})}.{body}.{signature}",
        "nonsense": "a.b.c",
        "nothing": "",
    }
    for how, forgery in forged.items():
        assert refusal(key, forgery), how


def test_keys_that_are_none_confirm_nothing(key: SigningKey) -> None:
    token = issued(key)
    kid = jwt.get_unverified_header(token)["kid"]
    for jwks in (
        {"keys": []},
        {"keys": [{"kid": kid, "kty": "oct", "k": "AAAA"}]},
        {"keys": [kid]},
        {"keys": None},
        {},
    ):
        with pytest.raises(NotSigned):
            read_passport(token, jwks, NOW_S * 1000)


async def test_an_empty_ledger_is_vouched_for_by_nobody() -> None:
    with pytest.raises(StoreFault, match="empty"):
        await head_of(MemoryStore(FakeClock()))


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _signed_with_the_public_key(claims: dict[str, Any], names: dict[str, Any], public: bytes) -> str:
    """Return a token whose HMAC key is the public key, for whoever lets the token say which algorithm to use."""
    signed = f"{_part({**names, 'alg': 'HS256'})}.{_part(claims)}"
    mac = hmac.digest(public, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_agents_are_named_by_spiffe_id_where_there_is_a_trust_domain(key: SigningKey) -> None:
    child = replace(PAYER, child=Child("tg_2", "payer:reader:ocr", "run_1", ("fraud.*",), 2))
    for who, acting in ((PAYER, None), (child, "spiffe://acme.example/agent/payer/reader/ocr")):
        bearer = replace(BEARER, identity=who, trust_domain="acme.example")
        claims = read_passport(passport(key, bearer, ISSUED, Head(7, "ab"), (0, [])), key.jwks(), NOW_S * 1000)
        assert claims["sub"] == "spiffe://acme.example/agent/payer"
        assert claims.get("act", {}).get("sub") == acting
    assert claims["act"]["act"] == {"sub": "spiffe://acme.example/agent/payer/reader"}
