"""An issuer's keys: read safely from a hostile or broken server, and only usable ones used."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt import get_algorithm_by_name

from gateway.identity.config import JwtAuth
from gateway.identity.key_fetch import MAX_BYTES, KeysUnavailable, fetch_keys, key_address
from gateway.identity.key_source import COOL_DOWN_S, FRESH_S, KeyRing, KeySource
from tests.identity.doubles import HandClock, Signer, b64, settle
from tests.identity.issuer import Issuer


def auth(issuer: Issuer, **more: Any) -> JwtAuth:
    return JwtAuth(issuer=issuer.url, audience="toolgate", subject="agent:payer", **more)


async def failure(trusted: JwtAuth, timeout_s: float = 5.0) -> str:
    with pytest.raises(KeysUnavailable) as refusal:
        await fetch_keys(trusted, timeout_s=timeout_s)
    return str(refusal.value)


async def test_keys_are_read_from_a_url_or_a_file(issuer: Issuer, signer: Signer, tmp_path: Path) -> None:
    issuer.serve_keys(signer.jwk)
    assert await fetch_keys(auth(issuer, jwks_url=issuer.jwks_url)) == [signer.jwk]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [signer.jwk]}))
    assert await fetch_keys(auth(issuer, jwks_file=file)) == [signer.jwk]
    assert issuer.asked == ["/keys"]


async def test_a_missing_or_overlong_file_is_no_key_set(issuer: Issuer, tmp_path: Path) -> None:
    assert "No such file" in await failure(auth(issuer, jwks_file=tmp_path / "none.json"))
    (tmp_path / "long.json").write_bytes(b" " * (MAX_BYTES + 1))
    assert "larger" in await failure(auth(issuer, jwks_file=tmp_path / "long.json"))


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"])
async def test_keys_are_found_through_either_kind_of_metadata(issuer: Issuer, signer: Signer, path: str) -> None:
    issuer.serve_keys(signer.jwk)
    issuer.pages[path] = {"issuer": issuer.url, "jwks_uri": issuer.jwks_url}
    assert await fetch_keys(auth(issuer)) == [signer.jwk]


async def test_an_issuer_with_a_path_has_its_metadata_where_the_standards_say(issuer: Issuer, signer: Signer) -> None:
    tenant = issuer.url + "/tenant/"
    issuer.serve_keys(signer.jwk)
    trusted = JwtAuth(issuer=tenant, audience="toolgate", subject="s")
    await failure(trusted)
    assert issuer.asked == [
        "/tenant/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/tenant",
    ]
    issuer.pages["/.well-known/oauth-authorization-server/tenant"] = {"issuer": tenant, "jwks_uri": issuer.jwks_url}
    assert await fetch_keys(trusted) == [signer.jwk]


async def test_metadata_of_another_issuer_is_a_mix_up_and_refused(issuer: Issuer, signer: Signer) -> None:
    issuer.serve_keys(signer.jwk)
    for named in (issuer.url + "/", "https://elsewhere.example", None):
        issuer.pages["/.well-known/openid-configuration"] = {"issuer": named, "jwks_uri": issuer.jwks_url}
        assert "another issuer" in await failure(auth(issuer))
    assert "/keys" not in issuer.asked


@pytest.mark.parametrize(
    "uri",
    [None, 7, "", "/keys", "file:///etc/passwd", "http://169.254.169.254/latest", "http://10.0.0.1/", "ftp://127.0.0.1/",
     "http://user:pass@127.0.0.1/", "http://[", "http://0x7f000001/", "http://127.1/", "javascript:1"],
)  # fmt: skip
async def test_metadata_cannot_send_the_gateway_anywhere(issuer: Issuer, uri: Any) -> None:
    issuer.pages["/.well-known/openid-configuration"] = {"issuer": issuer.url, "jwks_uri": uri}
    assert "no usable jwks_uri" in await failure(auth(issuer))


def test_metadata_of_an_https_issuer_cannot_name_keys_without_tls() -> None:
    issuer = "HTTPS://idp.example"
    with pytest.raises(KeysUnavailable, match="without TLS"):
        key_address({"issuer": issuer, "jwks_uri": "http://127.0.0.1/keys"}, issuer)
    assert key_address({"issuer": issuer, "jwks_uri": "https://k.example/keys"}, issuer) == "https://k.example/keys"


async def test_a_redirect_is_not_followed(issuer: Issuer, signer: Signer) -> None:
    issuer.pages["/elsewhere"] = {"keys": [signer.jwk]}
    issuer.answer("/keys", "302 Found", b"", f"Location: {issuer.url}/elsewhere")
    assert "302" in await failure(auth(issuer, jwks_url=issuer.jwks_url))
    assert issuer.asked == ["/keys"]


async def test_ten_megabytes_are_not_read_to_their_end(issuer: Issuer) -> None:
    issuer.answer("/keys", "200 OK", b" " * 10_000_000)
    assert "larger" in await failure(auth(issuer, jwks_url=issuer.jwks_url))


async def test_a_compressed_answer_is_not_unpacked(issuer: Issuer) -> None:
    issuer.answer("/keys", "200 OK", gzip.compress(b" " * 10_000_000), "Content-Encoding: gzip")
    assert "encoding" in await failure(auth(issuer, jwks_url=issuer.jwks_url))


async def test_an_issuer_that_hangs_is_given_up(issuer: Issuer) -> None:
    issuer.hang("/keys")
    assert "no answer within" in await failure(auth(issuer, jwks_url=issuer.jwks_url), timeout_s=0.05)


async def test_an_issuer_nobody_listens_for_is_unavailable(issuer: Issuer) -> None:
    url = "http://127.0.0.1:1/keys"
    assert "ConnectError" in await failure(auth(issuer, jwks_url=url))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"keys":{}}', b'{"keys":[],"keys":[]}', b"[" * 100_000, b"\xff\xfe"]
)
async def test_what_is_no_key_set_is_refused(issuer: Issuer, body: bytes) -> None:
    issuer.answer("/keys", "200 OK", body)
    assert await failure(auth(issuer, jwks_url=issuer.jwks_url))


async def test_broken_http_is_refused(issuer: Issuer) -> None:
    for raw in (b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"):
        issuer.pages["/keys"] = raw
        assert await failure(auth(issuer, jwks_url=issuer.jwks_url))


async def source_of(*keys: Any) -> KeySource:
    async def fetch() -> list[Any]:
        return list(keys)

    return KeySource(fetch, HandClock())


def unsafe_rsa(bits: int) -> dict[str, Any]:
    public = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    return {**get_algorithm_by_name("RS256").to_jwk(public, as_dict=True), "kid": "k"}


async def test_only_public_keys_fit_for_the_algorithm_are_used(signer: Signer, rsa_signer: Signer) -> None:
    private = get_algorithm_by_name("ES256").to_jwk(signer.private, as_dict=True)
    for key, algorithm in [
        ({"kty": "oct", "k": b64(b"secret" * 8), "kid": "k"}, "ES256"),
        ({"kty": "oct", "k": b64(b"secret" * 8), "kid": "k", "alg": "HS256"}, "RS256"),
        ({**signer.jwk, "kid": "k", "use": "enc"}, "ES256"),
        ({**signer.jwk, "kid": "k", "use": ["sig"]}, "ES256"),
        ({**signer.jwk, "kid": "k", "alg": "ES384"}, "ES256"),
        ({**signer.jwk, "kid": "k", "alg": "ES384"}, "ES384"),
        ({**signer.jwk, "kid": "k", "crv": "P-999"}, "ES256"),
        ({**signer.jwk, "kid": "k", "x": "!"}, "ES256"),
        ({**signer.jwk, "kid": "k", "x": signer.jwk["y"]}, "ES256"),
        ({**private, "kid": "k"}, "ES256"),
        ({"kty": "EC", "kid": "k"}, "ES256"),
        ({"kty": "RSA", "kid": "k", "n": 7, "e": "AQAB"}, "RS256"),
        ({"kty": "OKP", "kid": "k", "crv": "X25519", "x": b64(b"1" * 32)}, "EdDSA"),
        ({**rsa_signer.jwk, "kid": "k"}, "ES256"),
        (unsafe_rsa(1024), "RS256"),
        ("k", "ES256"),
        (None, "ES256"),
    ]:
        assert await (await source_of(key)).key("k", algorithm) is None, key
    assert await (await source_of(rsa_signer.jwk)).key("rsa", "RS256") is not None


async def test_two_keys_of_one_name_are_none(signer: Signer) -> None:
    twin = {**Signer("k1").jwk}
    assert await (await source_of(signer.jwk, twin)).key("k1", "ES256") is None


@given(
    st.dictionaries(
        st.sampled_from(["kty", "kid", "crv", "x", "y", "n", "e", "d", "use", "alg", "k"]),
        st.one_of(
            st.sampled_from(["EC", "RSA", "OKP", "oct", "k", "P-256", "Ed25519", "Ed448", "AQAB", "sig"]),
            st.text(max_size=60),
            st.binary(max_size=66).map(b64),
            st.integers(),
            st.none(),
            st.lists(st.integers(), max_size=2),
        ),
    ),
    st.sampled_from(["ES256", "ES512", "RS256", "PS512", "EdDSA"]),
)
async def test_no_malformed_key_breaks_the_source(key: dict[str, Any], algorithm: str) -> None:
    found = await (await source_of(key)).key(key.get("kid") if isinstance(key.get("kid"), str) else None, algorithm)
    assert found is None or found.algorithm_name == algorithm


async def test_at_most_a_hundred_keys_are_kept(signer: Signer) -> None:
    crowd = [{**signer.jwk, "kid": f"k{number}"} for number in range(101)]
    source = await source_of(*crowd)
    assert await source.key("k99", "ES256") is not None
    assert await source.key("k100", "ES256") is None


class Counting:
    """A fetch that can be held, and can fail."""

    def __init__(self, signer: Signer) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.fails = False
        self._key = signer.jwk

    async def __call__(self) -> list[Any]:
        self.count += 1
        await self.gate.wait()
        if self.fails:
            raise KeysUnavailable("down")
        return [self._key]


async def test_callers_at_once_share_one_fetch_and_one_who_leaves_does_not_stop_it(
    clock: HandClock, signer: Signer
) -> None:
    fetch = Counting(signer)
    source = KeySource(fetch, clock)
    waiting = [asyncio.create_task(source.key("k1", "ES256")) for _ in range(5)]
    await settle()
    waiting[0].cancel()
    await settle()
    fetch.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(not isinstance(key, BaseException) and key is not None for key in found[1:])
    assert fetch.count == 1


async def test_a_failed_fetch_is_not_repeated_before_the_cool_down(clock: HandClock, signer: Signer) -> None:
    fetch = Counting(signer)
    fetch.gate.set()
    fetch.fails = True
    source = KeySource(fetch, clock)
    for _ in range(3):
        with pytest.raises(KeysUnavailable, match="down"):
            await source.key("k1", "ES256")
    assert fetch.count == 1
    fetch.fails = False
    clock.jump(COOL_DOWN_S)
    assert await source.key("k1", "ES256") is not None


async def test_keys_are_read_again_when_they_are_no_longer_fresh(clock: HandClock, signer: Signer) -> None:
    fetch = Counting(signer)
    fetch.gate.set()
    source = KeySource(fetch, clock)
    for jump, expected in ((0, 1), (FRESH_S, 1), (1, 2)):
        clock.jump(jump)
        assert await source.key("k1", "ES256") is not None
        assert fetch.count == expected


async def test_closing_stops_a_fetch_that_hangs(clock: HandClock, issuer: Issuer) -> None:
    issuer.hang("/keys")
    ring = KeyRing(clock)
    source = ring.source(auth(issuer, jwks_url=issuer.jwks_url))
    assert ring.source(auth(issuer, jwks_url=issuer.jwks_url)) is source
    assert ring.source(auth(issuer)) is not source
    waiting = asyncio.create_task(source.key("k1", "ES256"))
    await issuer.hanging.wait()
    await ring.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
