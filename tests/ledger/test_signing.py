"""The signing key: made once, private, and everything it signs can be checked with the public half alone."""

import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import dump
from gateway.ledger.signing import NotSigned, SigningKey, signed_claims
from gateway.store.private_file import PrivateFileError

CLAIMS = {"sub": "payer", "run": "run_1", "head": {"seq": 7, "hash": "ab"}}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    folder: Path = tmp_path_factory.mktemp("key")
    return SigningKey.load(folder)


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first, second = SigningKey.load(tmp_path), SigningKey.load(tmp_path)
    assert first.kid == second.kid
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600
    assert signed_claims(first.sign(CLAIMS, "head"), second.jwks(), "head") == CLAIMS


def test_the_public_half_says_nothing_of_the_private_one(key: SigningKey) -> None:
    [public] = key.jwks()["keys"]
    assert set(public) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert public["alg"] == "ES256"


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_a_file_that_holds_no_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "signing.key").write_bytes(content)
    (tmp_path / "signing.key").chmod(0o600)
    with pytest.raises(PrivateFileError, match=r"signing\.key"):
        SigningKey.load(tmp_path)
    assert (tmp_path / "signing.key").read_bytes() == content


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    SigningKey.load(tmp_path)
    (tmp_path / "signing.key").chmod(0o644)
    with pytest.raises(PrivateFileError, match="chmod 600"):
        SigningKey.load(tmp_path)


@given(st.data())
def test_whatever_is_changed_in_a_statement_is_found(key: SigningKey, data: st.DataObject) -> None:
    parts = [bytearray(urlsafe_b64decode(part + "==")) for part in key.sign(CLAIMS, "head").split(".")]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
    forged = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    with pytest.raises(NotSigned):
        signed_claims(forged, key.jwks(), "head")


def test_a_signature_whose_last_letter_stands_for_the_same_bytes_is_another(key: SigningKey) -> None:
    token = key.sign({"a": 1}, "kind")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(token[-1])
    for other in range(last + 1, last + 16):  # its last four bits stand for nothing
        with pytest.raises(NotSigned):
            signed_claims(token[:-1] + letters[other], key.jwks(), "kind")


def test_a_statement_of_one_kind_or_of_another_key_is_none_of_ours(key: SigningKey, tmp_path: Path) -> None:
    token = key.sign(CLAIMS, "head")
    with pytest.raises(NotSigned, match="no passport"):
        signed_claims(token, key.jwks(), "passport")
    with pytest.raises(NotSigned):
        signed_claims(token, SigningKey.load(tmp_path).jwks(), "head")
    unsigned = jwt.encode(CLAIMS, None, "none", headers={"kid": key.kid, "typ": "head"})
    for other in (unsigned, jwt.encode(CLAIMS, "x" * 64, "HS256", headers={"kid": key.kid, "typ": "head"}), "junk", ""):
        with pytest.raises(NotSigned):
            signed_claims(other, key.jwks(), "head")
    with pytest.raises(NotSigned):
        signed_claims(token, {"keys": [{"kid": key.kid}]}, "head")


def test_what_is_signed_here_is_a_jws_to_others_and_the_other_way_round(key: SigningKey) -> None:
    [public] = key.jwks()["keys"]
    token = key.sign(CLAIMS, "head")
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": key.kid, "typ": "head"}
    assert jwt.decode(token, jwt.PyJWK(public), ["ES256"]) == CLAIMS
    private = ec.generate_private_key(ec.SECP256R1())
    jwks = {"keys": [{**jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "theirs"}]}
    theirs = jwt.encode(CLAIMS, private, "ES256", headers={"kid": "theirs", "typ": "head"})
    assert signed_claims(theirs, jwks, "head") == CLAIMS


@pytest.mark.parametrize("more", [{"crit": ["exp"], "exp": 1}, {"jku": "https://evil.example.com"}, {"b64": True}])
def test_a_statement_that_asks_its_reader_for_more_is_none_of_ours(more: dict[str, object]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwks = {"keys": [{**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "k"}]}
    told = ".".join(
        urlsafe_b64encode(part).rstrip(b"=").decode()
        for part in (dump({"alg": "ES256", "kid": "k", "typ": "head", **more}), dump(CLAIMS))
    )
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(told.encode(), key)
    with pytest.raises(NotSigned, match="no head"):
        signed_claims(f"{told}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}", jwks, "head")


def test_keys_beside_ours_that_have_no_name_are_passed_over(key: SigningKey) -> None:
    others = [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "oct", "k": "AAAA"}]
    assert signed_claims(key.sign(CLAIMS, "head"), {"keys": [*others, *key.jwks()["keys"]]}, "head") == CLAIMS
    nameless = {name: value for name, value in key.jwks()["keys"][0].items() if name != "kid"}
    with pytest.raises(NotSigned):
        signed_claims(key.sign(CLAIMS, "head"), {"keys": [nameless]}, "head")


def test_a_key_of_another_curve_and_a_signature_of_another_length_are_refused(key: SigningKey) -> None:
    token = key.sign(CLAIMS, "head")
    [public] = key.jwks()["keys"]
    for other in ({"crv": "P-384"}, {"kty": "OKP"}, {"x": public["x"][:-4]}, {"x": "A" * 43}, {"x": 7}):
        with pytest.raises(NotSigned, match="does not hold"):
            signed_claims(token, {"keys": [{**public, **other}]}, "head")
    with pytest.raises(NotSigned, match="ValueError"):
        signed_claims(token[:-4], key.jwks(), "head")
