"""Public keys as issuers publish them (RFC 7517): which of them one may trust for a token."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt import PyJWK
from jwt.exceptions import PyJWTError

__all__ = ["the_key"]

_FAMILY: Final[Mapping[str, tuple[str, type | None]]] = {
    "ES256": ("EC", ec.SECP256R1),
    "ES384": ("EC", ec.SECP384R1),
    "ES512": ("EC", ec.SECP521R1),
    **{name: ("RSA", None) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    "EdDSA": ("OKP", None),
}


def the_key(keys: Sequence[Mapping[str, Any]], kid: str | None, algorithm: str) -> PyJWK | None:
    """Return the key `kid` for `algorithm` (without `kid`: the only one that fits), or None where there is none."""
    fitting = [key for key in keys if (kid is None or key.get("kid") == kid) and _fits(key, algorithm)]
    if len(fitting) != 1:  # two keys under one name, or none named: it is not for us to guess
        return None
    return _usable(fitting[0], algorithm)


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    return (
        key.get("kty") == _FAMILY[algorithm][0]
        and key.get("use", "sig") in ("sig", "jwt-svid")  # a set would have to hash what an issuer wrote
        and key.get("alg", algorithm) == algorithm
    )


def _usable(key: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    """Build the public key, or return None where it is malformed, weak, or too large to be meant well."""
    try:
        built = PyJWK(dict(key), algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    match built.key:
        case rsa.RSAPublicKey() as public:
            return built if 2048 <= public.key_size <= 8192 else None
        case ec.EllipticCurvePublicKey() as public:
            curve = _FAMILY[algorithm][1]
            return built if curve is not None and isinstance(public.curve, curve) else None
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return built
    return None  # a private key in a key set is no key to trust
