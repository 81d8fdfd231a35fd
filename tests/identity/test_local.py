"""The local key: private, made on demand, and reproducible with the standard library."""

import hashlib
import hmac
import os
import resource
from pathlib import Path

import pytest

from gateway.identity.local import load_local_key, local_bearer, split_local
from gateway.store.private_file import MAX_BYTES, PrivateFileError, create_private, read_private, write_private


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / ".toolgate" / "local.key"
    key = load_local_key(path)
    assert len(key) == 64
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert load_local_key(path) == key
    assert load_local_key(tmp_path / "other.key") != key
    assert [entry.name for entry in path.parent.iterdir()] == ["local.key"]


def test_the_bridge_can_compute_its_bearer_with_the_standard_library(tmp_path: Path) -> None:
    path = tmp_path / "local.key"
    key = load_local_key(path)
    path.write_bytes(key + b"\n")  # what an editor leaves behind
    by_bridge = hmac.new(path.read_bytes().strip(), b"claude.desktop", hashlib.sha256).hexdigest()
    assert local_bearer(load_local_key(path), "claude.desktop") == f"tgl.claude.desktop.{by_bridge}"
    assert split_local(f"tgl.claude.desktop.{by_bridge}") == ("claude.desktop", by_bridge)


@pytest.mark.parametrize("exposed", [0o640, 0o604, 0o620, 0o777])
def test_a_key_that_others_can_use_is_refused_with_the_fix(tmp_path: Path, exposed: int) -> None:
    path = tmp_path / "local.key"
    load_local_key(path)
    path.chmod(exposed)
    with pytest.raises(PrivateFileError, match=f"chmod 600 {path}"):
        load_local_key(path)


def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "local.key"
    write_private(path, b" " * 100)
    with pytest.raises(PrivateFileError, match="no key"):
        load_local_key(path)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivateFileError, match="not a regular file"):
        read_private(Path("/dev/null"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PrivateFileError, match="not a regular file"):
        read_private(tmp_path / "pipe")
    with pytest.raises(PrivateFileError):
        read_private(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PrivateFileError, match="cannot be read"):
        read_private(tmp_path / "loop")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "large", b"x" * (MAX_BYTES + 1))
    with pytest.raises(PrivateFileError, match="larger"):
        read_private(tmp_path / "large")


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    write_private(tmp_path / "theirs", b"x")
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(PrivateFileError, match="another user"):
        read_private(tmp_path / "theirs")


def test_of_two_creators_the_first_wins_and_both_see_its_content(tmp_path: Path) -> None:
    assert create_private(tmp_path / "key", b"first") == b"first"
    assert create_private(tmp_path / "key", b"second") == b"first"


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for attempt in (write_private, create_private):
        with pytest.raises(PrivateFileError, match="cannot be written"):
            attempt(tmp_path / "file" / "key", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PrivateFileError, match="cannot be written"):
        write_private(tmp_path / "folder", b"x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_writing_replaces_the_whole_and_keeps_it_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and exposed")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (read_private(path), mode(path)) == (b"new", 0o600)


@pytest.mark.parametrize("text", ["", "tgl.", "tgl.a", "tgl.a.", "tgl..b", "a.b", "tg_a_b"])
def test_what_is_no_local_bearer_is_not_split(text: str) -> None:
    assert split_local(text) is None


def test_a_full_disk_leaves_neither_half_a_file_nor_a_draft(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(PrivateFileError, match="cannot be written"):
            write_private(tmp_path / "file", b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert read_private(tmp_path / "file") == b"old"
