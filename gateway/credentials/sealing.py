"""The key of the secret store, and files sealed with it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken

from gateway.credentials.fault import CredentialFault
from gateway.store.private_file import PrivateFileError, create_private, read_private, write_private

__all__ = ["KEY_VARIABLE", "StoreKey", "locked"]

KEY_VARIABLE: Final = "TOOLGATE_SECRET_KEY"
_KEYRING_NAME: Final = "toolgate"


class StoreKey:
    """Seals files of a folder (Fernet: AES-128-CBC with HMAC-SHA256); files that other users may read are refused.

    The key is the environment variable TOOLGATE_SECRET_KEY; else the file `<folder>/secret.key`, which is created with
    mode 0600 by the first `write`; or, where that file says `keyring`, an entry of the operating system's keyring.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._file = folder / "secret.key"
        self._environ = environ

    def read(self, path: Path) -> Any:
        """Return what was written to `path`, or None where there is no such file. Raises `CredentialFault`."""
        with _as_fault():
            sealed = read_private(path)
        if sealed is None:
            return None
        try:
            return json.loads(self._key(path, create=False).decrypt(sealed))
        except InvalidToken:
            raise CredentialFault(
                "secret_store",
                f"{path} does not open with this key: it was sealed with another one, or it was changed. "
                f"Set {KEY_VARIABLE} to the key it was sealed with, or restore the file",
            ) from None

    def write(self, path: Path, content: Any) -> None:
        """Replace `path`, durably. Raises `CredentialFault`."""
        key = self._key(path, create=True)
        with _as_fault():
            write_private(path, key.encrypt(json.dumps(content, sort_keys=True).encode()))

    def move_to_keyring(self) -> None:
        """Keep the key in the operating system's keyring from now on. Raises `CredentialFault`."""
        with _as_fault():
            content = read_private(self._file) or create_private(self._file, Fernet.generate_key())
        key = content.strip()
        if key == _IN_KEYRING:
            return
        _fernet(key, str(self._file))
        _keyring_set(str(self._file.absolute()), key.decode())
        if _keyring_get(str(self._file.absolute())) != key.decode():
            raise CredentialFault("secret_store", "the keyring does not give back what was put into it")
        with _as_fault():
            write_private(self._file, _IN_KEYRING)

    def _key(self, sealed: Path, *, create: bool) -> Fernet:
        given = self._environ.get(KEY_VARIABLE)
        if given:
            return _fernet(given.encode(), f"the environment variable {KEY_VARIABLE}")
        with _as_fault():
            content = read_private(self._file)
            if content is None and create:
                content = create_private(self._file, Fernet.generate_key())
        if content is None:
            raise CredentialFault(
                "secret_store", f"{sealed} cannot be opened: set {KEY_VARIABLE} or bring back {self._file}"
            )
        if content.strip() == _IN_KEYRING:
            return _fernet(_keyring_get(str(self._file.absolute())).encode(), "the keyring")
        return _fernet(content.strip(), str(self._file))


_IN_KEYRING: Final = b"keyring"


def _keyring_get(name: str) -> str:
    with _keyring() as keyring:
        found = keyring.get_password(_KEYRING_NAME, name)
    if not found:
        raise CredentialFault(
            "secret_store", f"the keyring has no key for {name}: unlock it, or set {KEY_VARIABLE} to the key"
        )
    return str(found)


def _keyring_set(name: str, key: str) -> None:
    with _keyring() as keyring:
        keyring.set_password(_KEYRING_NAME, name, key)


@contextmanager
def _keyring() -> Iterator[Any]:
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise CredentialFault("secret_store", "the keyring needs a package: pip install 'toolgate[keyring]'") from None
    try:
        yield keyring
    except (keyring.errors.KeyringError, RuntimeError) as error:
        raise CredentialFault("secret_store", f"the keyring cannot be used ({type(error).__name__})") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time read, change and write what is in a folder. Raises `CredentialFault`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CredentialFault("secret_store", f"{folder}: cannot be used ({error.strerror})") from None
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
