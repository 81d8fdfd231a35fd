"""The secret store: encrypted, private, and whole after whatever happens."""

import multiprocessing
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from gateway.credentials.fault import CredentialFault
from gateway.credentials.secrets import KEY_VARIABLE, SecretStore

VALUE = "sk-live-4eC39HqLyjWDarjtT1zdp7dc"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".toolgate"


@pytest.fixture
def secrets(folder: Path) -> SecretStore:
    return SecretStore(folder, {})


def fault(call: object, *arguments: str) -> CredentialFault:
    assert callable(call)
    with pytest.raises(CredentialFault) as error:
        call(*arguments)
    return error.value


def test_a_secret_is_kept_listed_replaced_and_forgotten(secrets: SecretStore, folder: Path) -> None:
    assert secrets.list() == ()
    secrets.set("stripe_key", VALUE)
    secrets.set("a.b-c", "ünïcödé \n value")
    again = SecretStore(folder, {})
    assert again.get("stripe_key") == VALUE
    assert again.get("a.b-c") == "ünïcödé \n value"
    assert again.list() == ("a.b-c", "stripe_key")
    secrets.set("stripe_key", "another")
    assert again.get("stripe_key") == "another"
    secrets.remove("stripe_key")
    assert again.list() == ("a.b-c",)


def test_a_missing_secret_names_the_command_that_sets_it(secrets: SecretStore) -> None:
    for call in (secrets.get, secrets.remove):
        missing = fault(call, "stripe_key")
        assert missing.code == "secret_missing"
        assert "toolgate secret set stripe_key" in str(missing)


def test_nothing_of_a_secret_is_readable_on_disk_and_files_are_private(secrets: SecretStore, folder: Path) -> None:
    secrets.set("stripe_key", VALUE)
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert VALUE.encode() not in path.read_bytes()
        assert b"stripe_key" not in path.read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["secret.key", "secrets.enc"]


@pytest.mark.parametrize("name", ["secrets.enc", "secret.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_files_that_others_can_use_are_refused(secrets: SecretStore, folder: Path, name: str, mode: int) -> None:
    secrets.set("stripe_key", VALUE)
    (folder / name).chmod(mode)
    for call, arguments in ((secrets.get, ("stripe_key",)), (secrets.list, ()), (secrets.set, ("other", VALUE))):
        refused = fault(call, *arguments)
        assert refused.code == "secret_store"
        assert f"chmod 600 {folder / name}" in str(refused)


def test_the_key_may_come_from_the_environment_and_then_none_is_written(folder: Path) -> None:
    environ = {KEY_VARIABLE: Fernet.generate_key().decode()}
    SecretStore(folder, environ).set("stripe_key", VALUE)
    assert [path.name for path in folder.iterdir()] == ["secrets.enc"]
    assert SecretStore(folder, environ).get("stripe_key") == VALUE
    assert KEY_VARIABLE in str(fault(SecretStore(folder, {}).get, "stripe_key"))


def test_another_key_or_a_changed_file_does_not_open(secrets: SecretStore, folder: Path) -> None:
    secrets.set("stripe_key", VALUE)
    other = SecretStore(folder, {KEY_VARIABLE: Fernet.generate_key().decode()})
    assert "does not open with this key" in str(fault(other.get, "stripe_key"))
    assert fault(other.set, "more", VALUE).code == "secret_store"  # else the old secrets would be lost
    file = folder / "secrets.enc"
    sealed = bytearray(file.read_bytes())
    sealed[len(sealed) // 2] ^= 1
    file.write_bytes(bytes(sealed))
    assert fault(secrets.list).code == "secret_store"


@pytest.mark.parametrize("key", ["hunter2", "x" * 44, "ключ"])
def test_what_is_no_key_is_refused_with_how_to_make_one(folder: Path, key: str) -> None:
    refused = fault(SecretStore(folder, {KEY_VARIABLE: key}).set, "stripe_key", VALUE)
    assert "openssl rand" in str(refused)
    assert key not in str(refused)


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "-a", "é", "a\n", "x" * 129])
def test_a_strange_name_is_refused(secrets: SecretStore, name: str) -> None:
    assert fault(secrets.set, name, VALUE).code == "secret_name"


@pytest.mark.parametrize("value", ["", "abc", "x" * 65_537])
def test_a_value_that_cannot_be_kept_secret_is_refused(secrets: SecretStore, value: str) -> None:
    refused = fault(secrets.set, "stripe_key", value)
    assert refused.code == "secret_value"
    assert not value or value not in str(refused)


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert fault(SecretStore(tmp_path / "file", {}).set, "name", VALUE).code == "secret_store"
    assert fault(SecretStore(tmp_path / "file", {}).get, "name").code == "secret_store"


def _set(folder: Path, name: str) -> None:
    SecretStore(folder, {}).set(name, VALUE)


def test_no_secret_is_lost_when_several_processes_write_at_once(folder: Path) -> None:
    names = [f"name{number}" for number in range(8)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(_set, [(folder, name) for name in names])
    assert SecretStore(folder, {}).list() == tuple(names)
