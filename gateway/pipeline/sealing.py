"""What has to be kept and must not be read at rest: sealed with a key that only this gateway has."""

import hashlib
import os
from base64 import b64decode, b64encode
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.codec import CodecError, dump, parse

__all__ = ["Seal"]

_NONCE: Final = 12


class Seal:
    """Seals JSON values (AES-256-GCM) with a secret `key`; what is sealed for one `purpose` opens for no other."""

    def __init__(self, key: bytes, purpose: str) -> None:
        self._cipher = AESGCM(hashlib.sha256(f"toolgate {purpose}\0".encode() + key).digest())

    def close(self, value: Any, name: str) -> str:
        """Return a value as a text that opens only under this name."""
        nonce = os.urandom(_NONCE)
        return b64encode(nonce + self._cipher.encrypt(nonce, dump(value), name.encode())).decode()

    def open(self, sealed: str, name: str) -> Any:
        """Return what was sealed. Raises `ValueError`: it was changed, or sealed with another key, or not for this."""
        try:
            raw = b64decode(sealed, validate=True)
            return parse(self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], name.encode()))
        except (InvalidTag, CodecError, ValueError):
            raise ValueError("it does not open with this key") from None
