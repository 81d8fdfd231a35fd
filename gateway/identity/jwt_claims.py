"""What a JWT says, before it is believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.codec import CodecError, from_base64url, parse
from gateway.identity.refusal import refused

__all__ = ["Claims", "credential_id", "read_jwt", "subject_name"]

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "jose"})  # the last is what a JWT-SVID may say
_MAX_ACTORS: Final = 8
_MAX_TEXT: Final = 256


@dataclass(frozen=True, slots=True)
class Claims:
    """A token that was read and not yet believed. `actors` is the `act` chain, the current actor first."""

    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    actors: tuple[str, ...]


def read_jwt(token: str) -> Claims:
    """Read a token without believing it, with the parser that refuses what two parsers could read differently.

    Raises:
        IdentityFault: it is no JWT, or not one for access.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise refused("not three parts")
    header, claims = (_json(part) for part in parts[:2])
    kind = header.get("typ", "jwt")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise refused("a JWT of another type")
    return Claims(header, claims, _actors(claims))


def _json(part: str) -> Mapping[str, Any]:
    try:
        value = parse(from_base64url(part))
    except CodecError:
        raise refused("not a JWT") from None
    if not isinstance(value, dict):
        raise refused("not a JWT")
    return value


def _actors(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the actor chain, the current actor first (RFC 8693 §4.1)."""
    chain: list[str] = []
    node = claims.get("act")
    while node is not None:
        if not isinstance(node, dict) or len(chain) == _MAX_ACTORS:
            raise refused("act is malformed or too deep")
        if node.get("iss", claims.get("iss")) != claims.get("iss"):
            raise refused("an actor of another issuer")
        chain.append(subject_name(node.get("sub")))
        node = node.get("act")
    return tuple(chain)


def subject_name(value: Any) -> str:
    """Return `value` if it can name somebody. Raises `IdentityFault`."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise refused("a subject is not a name")
    return value


def credential_id(claims: Mapping[str, Any]) -> str:
    """Name the token without revealing it: its `jti`, or the time it was issued."""
    jti = claims.get("jti")
    if isinstance(jti, str) and 0 < len(jti) <= _MAX_TEXT and jti.isprintable():
        return f"jwt:{jti}"
    return f"jwt:{claims.get('iat', claims['exp'])}"
