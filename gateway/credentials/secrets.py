"""The secret store: one encrypted file beside the configuration."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.credentials.fault import CredentialFault
from gateway.credentials.sealing import KEY_VARIABLE, StoreKey, locked

__all__ = ["KEY_VARIABLE", "MIN_SECRET", "SecretStore"]

MIN_SECRET: Final = 4
_MAX_SECRET: Final = 64 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class SecretStore:
    """Named secrets in `<folder>/secrets.enc`, sealed with the folder's key. Several processes may write at once."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._file = folder / "secrets.enc"
        self._key = StoreKey(folder, environ)

    def get(self, name: str) -> str:
        """Return a secret.

        Raises:
            CredentialFault: there is none of this name, or the store cannot be opened.
        """
        try:
            return self._read()[name]
        except KeyError:
            raise CredentialFault(
                "secret_missing", f"there is no secret {name!r} in {self._file}; fix: toolgate secret set {name}"
            ) from None

    def list(self) -> tuple[str, ...]:
        """Return the names, sorted. Raises `CredentialFault`."""
        return tuple(sorted(self._read()))

    def set(self, name: str, value: str) -> None:
        """Keep `value` as `name`, durably; replaces an older value.

        Raises:
            CredentialFault: the name or value will not do, or the store cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise CredentialFault(
                "secret_name", f"{name!r} is no name for a secret: use letters, digits, `_`, `.` and `-` (up to 128)"
            )
        if not MIN_SECRET <= len(value) <= _MAX_SECRET:
            raise CredentialFault(
                "secret_value",
                f"the value of {name!r} must have {MIN_SECRET} to {_MAX_SECRET} characters: a shorter one could not be "
                "told from ordinary text, and so could not be kept out of answers",
            )
        with locked(self._folder):
            self._write({**self._read(), name: value})

    def remove(self, name: str) -> None:
        """Forget a secret. Raises `CredentialFault`, also when there is none of this name."""
        with locked(self._folder):
            self.get(name)
            self._write({other: value for other, value in self._read().items() if other != name})

    def _read(self) -> dict[str, str]:
        return dict(self._key.read(self._file) or {})

    def _write(self, secrets: Mapping[str, str]) -> None:
        self._key.write(self._file, secrets)
