"""`toolgate secret`: names are shown, values never."""

import subprocess
import sys
from pathlib import Path


def secret(home: Path, *args: str, value: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "secret", *args, "--config", str(home / "gateway.yaml")]
    return subprocess.run(command, input=value, capture_output=True, text=True, check=False)


def test_a_secret_is_kept_listed_by_name_and_removed(tmp_path: Path) -> None:
    assert "no secrets" in secret(tmp_path, "list").stdout
    kept = secret(tmp_path, "set", "stripe", value="sk-canary-0123456789\n")
    assert (kept.returncode, "${secret:stripe}" in kept.stdout) == (0, True)
    assert secret(tmp_path, "list").stdout.split() == ["stripe"]
    everything = b"".join(path.read_bytes() for path in (tmp_path / ".toolgate").iterdir())
    assert b"canary" not in everything
    assert "canary" not in kept.stdout + kept.stderr
    assert secret(tmp_path, "rm", "stripe").returncode == 0
    assert "stripe" not in secret(tmp_path, "list", "--json").stdout


def test_what_cannot_be_kept_is_refused_with_a_code(tmp_path: Path) -> None:
    for name, value in (("not a name", "long enough"), ("short", "x")):
        refused = secret(tmp_path, "set", name, value=value)
        assert refused.returncode == 1
        assert "error" in refused.stderr
    assert secret(tmp_path, "rm", "missing").returncode == 1


def test_a_store_others_can_read_is_refused(tmp_path: Path) -> None:
    secret(tmp_path, "set", "stripe", value="sk-canary-0123456789")
    for path in (tmp_path / ".toolgate").iterdir():
        path.chmod(0o644)
    refused = secret(tmp_path, "list")
    assert refused.returncode == 1
    assert "error" in refused.stderr
