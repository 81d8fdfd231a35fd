"""`toolgate secret`: names are shown, values never."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from gateway.cli import build


def secret(home: Path, *args: str, value: str = "") -> Any:
    return CliRunner().invoke(build(), ["secret", *args, "--config", str(home / "gateway.yaml")], input=value)


def test_a_secret_is_kept_listed_by_name_and_removed(tmp_path: Path) -> None:
    assert "no secrets" in secret(tmp_path, "list").stdout
    kept = secret(tmp_path, "set", "stripe", value="sk-canary-0123456789\n")
    assert (kept.exit_code, "${secret:stripe}" in kept.stdout) == (0, True)
    assert secret(tmp_path, "list").stdout.split() == ["stripe"]
    everything = b"".join(path.read_bytes() for path in (tmp_path / ".toolgate").iterdir())
    assert b"canary" not in everything
    assert "canary" not in kept.stdout + kept.stderr
    assert secret(tmp_path, "rm", "stripe").exit_code == 0
    assert "stripe" not in secret(tmp_path, "list", "--json").stdout


def test_what_cannot_be_kept_is_refused_with_a_code(tmp_path: Path) -> None:
    for name, value in (("not a name", "long enough"), ("short", "x")):
        refused = secret(tmp_path, "set", name, value=value)
        assert refused.exit_code == 1
        assert "error" in refused.stderr
    assert secret(tmp_path, "rm", "missing").exit_code == 1


def test_a_store_others_can_read_is_refused(tmp_path: Path) -> None:
    secret(tmp_path, "set", "stripe", value="sk-canary-0123456789")
    for path in (tmp_path / ".toolgate").iterdir():
        path.chmod(0o644)
    refused = secret(tmp_path, "list")
    assert refused.exit_code == 1
    assert "error" in refused.stderr
