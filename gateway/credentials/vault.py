"""What the gateway was given by authorization servers: users' tokens and its own registrations, sealed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.credentials.fault import CredentialFault
from gateway.credentials.sealing import StoreKey, locked

__all__ = ["Vault", "account_name", "registration_name"]

_Entry = Mapping[str, Any]


def account_name(server: str, user: str, issuer: str) -> tuple[str, ...]:
    """Name the tokens that a user let the gateway have for `server`; `issuer` says whose word the user's name is."""
    return ("account", server, user, issuer)


def registration_name(issuer: str, redirect: str) -> tuple[str, ...]:
    """Name what the gateway is called at an authorization server where it registered itself."""
    return ("registration", issuer, redirect)


class Vault:
    """Entries in `<folder>/credentials/`, one sealed file each; nothing in a file's name tells what it is about."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._key: Final = StoreKey(folder, environ)
        self._outer = folder
        self._folder = folder / "credentials"

    def get(self, name: tuple[str, ...]) -> _Entry | None:
        """Return an entry, or None where there is none. Raises `CredentialFault`."""
        found = self._key.read(self._path(name))
        if found is not None and found.get("name") != list(name):  # a file put in the place of another opens too
            raise CredentialFault("secret_store", f"{self._path(name)} is another entry's file")
        return found["entry"] if found is not None else None

    def put(self, name: tuple[str, ...], entry: _Entry) -> None:
        """Keep an entry in the place of what was there, durably. Raises `CredentialFault`."""
        with locked(self._folder):
            self._key.write(self._path(name), {"name": list(name), "entry": dict(entry)})

    def replace(self, name: tuple[str, ...], entry: _Entry) -> bool:
        """Keep an entry in the place of what is there; not, and False, where nothing is. Raises `CredentialFault`."""
        with locked(self._folder):
            there = self._path(name).exists()
            if there:
                self._key.write(self._path(name), {"name": list(name), "entry": dict(entry)})
        return there

    def remove(self, name: tuple[str, ...]) -> bool:
        """Forget an entry; tell whether there was one. Raises `CredentialFault`."""
        with locked(self._folder):
            there = self._path(name).exists()
            self._path(name).unlink(missing_ok=True)
        return there

    def names(self) -> list[tuple[str, ...]]:
        """Return the names of all entries, sorted. Raises `CredentialFault`."""
        return sorted(tuple(self._key.read(path)["name"]) for path in self._folder.glob("*.enc"))

    def stamp(self, name: tuple[str, ...]) -> tuple[int, int]:
        """Return what changes with an entry; the same for none."""
        try:
            found = self._path(name).stat()
        except OSError:
            return (0, 0)
        return found.st_mtime_ns, found.st_ino

    def mark(self, server: str, user: str = "", issuer: str = "") -> Path:
        """Return the file that is touched when a person says that a credential works again."""
        whose = f".{_digest((user, issuer))}" if user else ""
        return self._folder / f"{server}{whose}.renewed"

    def renew(self, server: str, user: str = "", issuer: str = "") -> None:
        """Have the gateway try a server's credentials again, or those of one user. Raises `CredentialFault`."""
        with locked(self._folder):
            mark = self.mark(server, user, issuer)
            mark.unlink(missing_ok=True)
            mark.touch(mode=0o600)

    def _path(self, name: tuple[str, ...]) -> Path:
        return self._folder / f"{_digest(name)}.enc"


def _digest(name: tuple[str, ...]) -> str:
    return hashlib.sha256(repr(name).encode()).hexdigest()[:40]
