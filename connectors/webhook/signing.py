"""Signatures over messages, as Standard Webhooks 1.0 has them (github.com/standard-webhooks/standard-webhooks)."""

import base64
import binascii
import hashlib
import hmac
from typing import Final

from gateway.connector import Secret

__all__ = ["key_of", "message_id", "signature"]

_PREFIX: Final = "whsec_"
_FEWEST_BYTES: Final = 24
_MOST_BYTES: Final = 64


def key_of(secret: Secret) -> bytes:
    """Return the signing key that a secret holds.

    Raises:
        ValueError: it is not `whsec_` and 24 to 64 bytes in base64.
    """
    text = secret.reveal()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(_PREFIX) or not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError(f"a webhook secret is {_PREFIX} and {_FEWEST_BYTES} to {_MOST_BYTES} bytes in base64")
    return key


def message_id(identity: str) -> str:
    """Return the id of the message that is sent for `identity`: the same for every attempt at it."""
    return f"msg_{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


def signature(secret: Secret, message: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature of one message, sent at Unix time `timestamp_s`."""
    signed = f"{message}.{timestamp_s}.".encode() + body
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
