"""The gateway's own signing key (ES256): what it states can be checked with the public half alone, offline."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from gateway.codec import dump
from gateway.store.private_file import PrivateFileError, create_private, read_private

__all__ = ["ALGORITHM", "NotSigned", "SigningKey", "key_of", "signed_claims"]

ALGORITHM: Final = "ES256"
_FILE: Final = "signing.key"
Json = Mapping[str, Any]


class NotSigned(ValueError):
    """A token was not signed by a key that is trusted, or not for this; the text says which."""


class SigningKey:
    """Signs JSON statements as compact JWS. `kid` is the RFC 7638 thumbprint of the public key."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        public: dict[str, Any] = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        thumbprint = hashlib.sha256(dump({name: public[name] for name in ("crv", "kty", "x", "y")})).digest()
        self.kid = urlsafe_b64encode(thumbprint).rstrip(b"=").decode()
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
        return jwt.encode(dict(claims), self._private, ALGORITHM, headers={"kid": self.kid, "typ": kind})

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set (RFC 7517)."""
        return {"keys": [dict(self._public)]}


def signed_claims(token: str, jwks: Json, kind: str) -> dict[str, Any]:
    """Return what a token says, if a key of `jwks` signed it as a statement of this `kind`. Times are not looked at.

    Raises:
        NotSigned: it did not.
    """
    try:
        header = jwt.get_unverified_header(token)
        found = [each for each in jwks["keys"] if each.get("kid") == header.get("kid")]
        if header.get("typ") != kind or not found:
            raise NotSigned(f"it is no {kind} signed by one of these keys")
        options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
        return dict(jwt.decode(token, jwt.PyJWK(found[0], ALGORITHM).key, [ALGORITHM], options=options))
    except (jwt.PyJWTError, KeyError, TypeError, AttributeError) as error:
        raise NotSigned(f"its signature does not hold ({type(error).__name__})") from None


def key_of(token: str) -> str:
    """Return the id of the key that a token, whose signature holds, was signed with."""
    return str(jwt.get_unverified_header(token)["kid"])


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
