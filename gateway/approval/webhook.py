"""What is sent to a webhook, and how it is signed (Standard Webhooks 1.0)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

__all__ = ["key_of", "signed"]

_PREFIX: Final = "whsec_"
_FEWEST_BYTES: Final = 24
_MOST_BYTES: Final = 64


def key_of(secret: str) -> bytes:
    """Return the signing key in a secret. Raises `ValueError`: it is not `whsec_` and 24 to 64 bytes in base64."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError(f"a webhook secret is {_PREFIX} and {_FEWEST_BYTES} to {_MOST_BYTES} bytes in base64")
    return key


def signed(key: bytes, message: str, at_s: int, body: bytes) -> Mapping[str, str]:
    """Return the headers of one attempt, made at Unix time `at_s`, at the message of this id."""
    digest = hmac.new(key, f"{message}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
