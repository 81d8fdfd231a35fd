"""The secret store: one encrypted file beside the configuration."""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

from gateway.credentials.fault import CredentialFault
from gateway.store.private_file import PrivateFileError, create_private, read_private, write_private

__all__ = ["KEY_VARIABLE", "MIN_SECRET", "SecretStore"]

KEY_VARIABLE: Final = "TOOLGATE_SECRET_KEY"
MIN_SECRET: Final = 4
_MAX_SECRET: Final = 64 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class SecretStore:
    """Named secrets in `<folder>/secrets.enc`, encrypted (Fernet: AES-128-CBC with HMAC-SHA256).

    The key is the environment variable TOOLGATE_SECRET_KEY, else the file `<folder>/secret.key`, which is created with
    mode 0600 by the first `set`. Files that other users may read are refused. Several processes may write at once.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._file = folder / "secrets.enc"
        self._key_file = folder / "secret.key"
        self._environ = environ

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
        with self._locked():
            self._write({**self._read(), name: value})

    def remove(self, name: str) -> None:
        """Forget a secret. Raises `CredentialFault`, also when there is none of this name."""
        with self._locked():
            self.get(name)
            self._write({other: value for other, value in self._read().items() if other != name})

    def _read(self) -> dict[str, str]:
        with _as_fault():
            sealed = read_private(self._file)
        if sealed is None:
            return {}
        key = self._key(create=False)
        try:
            return dict(json.loads(key.decrypt(sealed)))
        except InvalidToken:
            raise CredentialFault(
                "secret_store",
                f"{self._file} does not open with this key: it was sealed with another one, or it was changed. "
                f"Set {KEY_VARIABLE} to the key it was sealed with, or restore the file",
            ) from None

    def _write(self, secrets: Mapping[str, str]) -> None:
        key = self._key(create=True)
        with _as_fault():
            write_private(self._file, key.encrypt(json.dumps(secrets, sort_keys=True).encode()))

    def _key(self, *, create: bool) -> Fernet:
        given = self._environ.get(KEY_VARIABLE)
        if given:
            return _fernet(given.encode(), f"the environment variable {KEY_VARIABLE}")
        with _as_fault():
            content = read_private(self._key_file)
            if content is None and create:
                content = create_private(self._key_file, Fernet.generate_key())
        if content is None:
            raise CredentialFault(
                "secret_store", f"{self._file} cannot be opened: set {KEY_VARIABLE} or bring back {self._key_file}"
            )
        return _fernet(content.strip(), str(self._key_file))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time read, change and write."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CredentialFault("secret_store", f"{self._folder}: cannot be used ({error.strerror})") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def _as_fault() -> Iterator[None]:
    try:
        yield
    except PrivateFileError as error:
        raise CredentialFault("secret_store", str(error)) from None


def _fernet(key: bytes, where: str) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise CredentialFault(
            "secret_store",
            f"{where} holds no key: it must be 32 random bytes in URL-safe base64 "
            "(openssl rand -base64 32 | tr '+/' '-_')",
        ) from None
