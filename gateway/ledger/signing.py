"""The gateway's own signing key (ES256): what it states can be checked with the public half alone, offline."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.codec import dump, from_base64url, parse, to_base64url
from gateway.store.private_file import PrivateFileError, create_private, read_private

__all__ = ["ALGORITHM", "NotSigned", "SigningKey", "key_of", "signed_claims"]

ALGORITHM: Final = "ES256"
_FILE: Final = "signing.key"
_WIDTH: Final = 32
_HASHED: Final = ec.ECDSA(hashes.SHA256())
Json = Mapping[str, Any]


class NotSigned(ValueError):
    """A token was not signed by a key that is trusted, or not for this; the text says which."""


class SigningKey:
    """Signs JSON statements as compact JWS. `kid` is the RFC 7638 thumbprint of the public key."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        point = private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        x, y = (to_base64url(point[at : at + _WIDTH]) for at in (1, 1 + _WIDTH))
        public = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        self.kid = to_base64url(hashlib.sha256(dump(public)).digest())
        self._public = {**public, "kid": self.kid, "use": "sig", "alg": ALGORITHM}

    @classmethod
    def load(cls, folder: Path) -> "SigningKey":
        """Return the key in `<folder>/signing.key` (PEM, mode 0600); make it where there is none.

        Raises:
            PrivateFileError: others can read it, it cannot be written, or it holds no P-256 key.
        """
        path = folder / _FILE
        held = read_private(path) or create_private(path, _new_key())
        try:
            private = serialization.load_pem_private_key(held, None)
        except (ValueError, TypeError):
            private = None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise PrivateFileError(f"{path}: holds no P-256 private key; bring it back, or move it away for a new one")
        return cls(private)

    def sign(self, claims: Json, kind: str) -> str:
        """Return `claims` as a compact JWS whose `typ` is `kind`, so that no statement passes for another kind."""
        header = {"alg": ALGORITHM, "kid": self.kid, "typ": kind}
        told = f"{to_base64url(dump(header))}.{to_base64url(dump(claims))}"
        numbers = decode_dss_signature(self._private.sign(told.encode(), _HASHED))
        return f"{told}.{to_base64url(b''.join(number.to_bytes(_WIDTH) for number in numbers))}"

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set (RFC 7517)."""
        return {"keys": [dict(self._public)]}


def signed_claims(token: str, jwks: Json, kind: str) -> dict[str, Any]:
    """Return what a token says, if a key of `jwks` signed it as a statement of this `kind`. Times are not looked at.

    Raises:
        NotSigned: it did not.
    """
    try:
        told, signature = token.rsplit(".", 1)
        header, claims = (parse(from_base64url(part)) for part in told.split("."))
        keys = [each for each in jwks["keys"] if each.get("kid") == header["kid"]]
        ours = bool(keys) and header == {"alg": ALGORITHM, "kid": header["kid"], "typ": kind}
        if ours:
            _public_key(keys[0]).verify(_as_der(signature), told.encode(), _HASHED)
            return dict(claims)
    except (InvalidSignature, ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotSigned(f"its signature does not hold ({type(error).__name__})") from None
    raise NotSigned(f"it is no {kind} signed by one of these keys")


def key_of(token: str) -> str:
    """Return the id of the key that a token, whose signature holds, was signed with."""
    return str(parse(from_base64url(token.split(".", 1)[0]))["kid"])


def _public_key(jwk: Json) -> ec.EllipticCurvePublicKey:
    x, y = (from_base64url(jwk[name]) for name in ("x", "y"))
    if (jwk["kty"], jwk["crv"], len(x), len(y)) != ("EC", "P-256", _WIDTH, _WIDTH):
        raise ValueError("no P-256 key")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + x + y)  # SEC 1, 2.3.4


def _as_der(signature: str) -> bytes:
    raw = from_base64url(signature)
    if len(raw) != 2 * _WIDTH or to_base64url(raw) != signature:  # its last letter could be spelled otherwise
        raise ValueError("no signature of P-256")
    return encode_dss_signature(*(int.from_bytes(half) for half in (raw[:_WIDTH], raw[_WIDTH:])))


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
