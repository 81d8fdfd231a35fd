"""The identity of this machine's stdio bridge: a key file only its owner can read, and an HMAC per agent."""

import hmac
import secrets
from pathlib import Path
from typing import Final

from gateway.store.private_file import PrivateFileError, create_private, read_private

__all__ = ["LOCAL_PREFIX", "load_local_key", "local_bearer", "split_local"]

LOCAL_PREFIX: Final = "tgl."
_MIN_KEY_BYTES: Final = 32


def load_local_key(path: Path) -> bytes:
    """Return the key file's bytes without surrounding whitespace; create it (random, mode 0600) where there is none.

    Raises:
        PrivateFileError: others can read it, or it is too short to be a key.
    """
    key = read_private(path)
    if key is None:
        key = create_private(path, secrets.token_hex(32).encode())
    key = key.strip()
    if len(key) < _MIN_KEY_BYTES:
        raise PrivateFileError(f"{path}: is no key (shorter than {_MIN_KEY_BYTES} bytes); fix: rm {path}")
    return key


def local_bearer(key: bytes, agent: str) -> str:
    """Return `tgl.<agent>.<hex HMAC-SHA256(key, agent)>`, what the bridge sends for `agent`."""
    return f"{LOCAL_PREFIX}{agent}.{hmac.digest(key, agent.encode(), 'sha256').hex()}"


def split_local(value: str) -> tuple[str, str] | None:
    """Return the agent and the proof in a local bearer, or None for anything else."""
    agent, dot, proof = value.removeprefix(LOCAL_PREFIX).rpartition(".")
    return (agent, proof) if dot and agent and proof and value.startswith(LOCAL_PREFIX) else None
