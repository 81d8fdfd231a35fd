"""The store's key may be kept by the operating system."""

from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest

from gateway.credentials.fault import CredentialFault
from gateway.credentials.sealing import StoreKey
from gateway.credentials.secrets import SecretStore
from tests.cli.house import House

VALUE = "sk-live-4eC39HqLyjWDarjtT1zdp7dc"


class Ring(keyring.backend.KeyringBackend):
    """A keyring that can be locked, and one that forgets."""

    priority = 1  # type: ignore[assignment]  # a class property in the parent

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False
        self.forgets = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked("locked")
        return None if self.forgets else self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password


@pytest.fixture
def ring() -> Iterator[Ring]:
    before, made = keyring.get_keyring(), Ring()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


def test_the_key_moves_into_the_keyring_and_secrets_still_open(tmp_path: Path, ring: Ring) -> None:
    secrets = SecretStore(tmp_path / ".toolgate", {})
    secrets.set("stripe", VALUE)
    for _ in range(2):
        assert "in the keyring" in House(tmp_path).run("secret", "keyring").output
    [key] = ring.entries.values()
    assert key.encode() not in b"".join(path.read_bytes() for path in (tmp_path / ".toolgate").iterdir())
    assert SecretStore(tmp_path / ".toolgate", {}).get("stripe") == VALUE


def test_a_locked_or_empty_keyring_is_told(tmp_path: Path, ring: Ring) -> None:
    secrets = SecretStore(tmp_path, {})
    secrets.set("stripe", VALUE)
    StoreKey(tmp_path, {}).move_to_keyring()
    ring.locked = True
    with pytest.raises(CredentialFault, match="cannot be used"):
        secrets.get("stripe")
    ring.locked = False
    ring.entries.clear()
    with pytest.raises(CredentialFault, match="unlock it"):
        secrets.get("stripe")


def test_a_keyring_that_forgets_does_not_get_the_only_key(tmp_path: Path, ring: Ring) -> None:
    secrets = SecretStore(tmp_path, {})
    secrets.set("stripe", VALUE)
    ring.forgets = True
    with pytest.raises(CredentialFault):
        StoreKey(tmp_path, {}).move_to_keyring()
    assert secrets.get("stripe") == VALUE
