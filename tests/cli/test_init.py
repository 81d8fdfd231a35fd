"""`toolgate init` on real files, as a person runs it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli import build
from gateway.cli.init import Setup
from gateway.config.hosts import Host, HostFileError, read_host
from gateway.credentials.secrets import SecretStore
from gateway.model.clock import SystemClock

SERVERS = {
    "filesystem": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "."]},
    "github": {"command": "uvx", "args": ["gh-mcp"], "env": {"GITHUB_TOKEN": "ghp_0123456789abcdef01"}},
}


@pytest.fixture
def desktop(tmp_path: Path) -> Path:
    path = tmp_path / "claude_desktop_config.json"
    path.write_text(json.dumps({"theme": "dark", "mcpServers": SERVERS}, indent=4))
    return path


def toolgate(*arguments: str | Path) -> Any:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


def imported(desktop: Path) -> Any:
    return toolgate("init", "--no-pin", "--config", desktop.parent / "gateway.yaml", "--host-file", desktop, "--yes")


def test_doctor_finds_no_file_of_what_init_made_that_others_could_use(desktop: Path) -> None:
    imported(desktop)
    told = toolgate("doctor", "--offline", "--config", desktop.parent / "gateway.yaml").output
    assert "can be used by other users" not in told


def test_the_servers_are_behind_the_gateway_and_the_host_starts_only_it(desktop: Path) -> None:
    result = imported(desktop)
    assert result.exit_code == 0, result.output
    config = yaml.safe_load((desktop.parent / "gateway.yaml").read_text())
    assert config["mcpServers"]["github"]["env"] == {"GITHUB_TOKEN": "${secret:github_token}"}
    assert config["agents"]["claude-desktop"]["allow"] == ["filesystem.*", "github.*"]
    after = json.loads(desktop.read_text())
    assert after["theme"] == "dark"
    assert list(after["mcpServers"]) == ["toolgate"]
    entry = after["mcpServers"]["toolgate"]
    assert Path(entry["command"]).is_absolute()
    assert entry["args"][-5:] == [
        "stdio",
        "--config",
        str(desktop.parent / "gateway.yaml"),
        "--agent",
        "claude-desktop",
    ]
    assert entry["env"] == {"PATH": os.environ["PATH"]}


def test_a_secret_is_moved_to_the_store_and_never_shown(desktop: Path) -> None:
    result = imported(desktop)
    assert SecretStore(desktop.parent / ".toolgate", {}).get("github_token") == "ghp_0123456789abcdef01"
    assert "ghp_0123456789abcdef01" not in result.output
    assert "moved 1 secret into the secret store: github_token" in result.output
    assert "***" in result.output


def test_what_is_written_is_valid(desktop: Path) -> None:
    imported(desktop)
    result = toolgate("config", "validate", "--config", desktop.parent / "gateway.yaml")
    assert (result.exit_code, "2 servers, 1 agent" in result.output) == (0, True), result.output


def test_undo_gives_the_host_its_file_back_byte_for_byte(desktop: Path) -> None:
    before = desktop.read_bytes()
    imported(desktop)
    assert desktop.read_bytes() != before
    [backup] = desktop.parent.glob(f"{desktop.name}.*")
    assert backup.stat().st_mode & 0o777 == 0o600
    result = toolgate("init", "--undo", "--host-file", desktop, "--yes")
    assert result.exit_code == 0, result.output
    assert desktop.read_bytes() == before
    assert "ghp_0123456789abcdef01" not in result.output


def test_undo_finds_the_file_that_was_named_to_import_it(desktop: Path) -> None:
    before, config = desktop.read_bytes(), desktop.parent / "gateway.yaml"
    imported(desktop)
    result = toolgate("init", "--undo", "--config", config, "--yes")
    assert result.exit_code == 0, result.output
    assert desktop.read_bytes() == before
    again = toolgate("init", "--undo", "--config", config, "--yes")
    assert (again.exit_code, "Nothing to undo" in again.output) == (0, True)


@pytest.mark.parametrize("told", ["", "{}", '[7, "/nowhere/at/all.json"]', None])
def test_undo_without_a_usable_memory_says_what_to_name(desktop: Path, told: str | None) -> None:
    imported(desktop)
    memory, after = desktop.parent / ".toolgate/hosts.json", desktop.read_bytes()
    memory.unlink() if told is None else memory.write_text(told)
    result = toolgate("init", "--undo", "--config", desktop.parent / "gateway.yaml", "--yes")
    assert (result.exit_code, "--host-file" in result.output, desktop.read_bytes()) == (0, True, after)


def test_importing_again_after_an_undo_takes_the_configuration_there_is(desktop: Path) -> None:
    imported(desktop)
    toolgate("init", "--undo", "--host-file", desktop, "--yes")
    assert imported(desktop).exit_code == 0


def test_a_second_import_has_nothing_to_do(desktop: Path) -> None:
    imported(desktop)
    result = imported(desktop)
    assert (result.exit_code, "Nothing to do" in result.output) == (0, True)


def test_a_configuration_of_ones_own_is_never_overwritten(desktop: Path) -> None:
    own, before = desktop.parent / "gateway.yaml", desktop.read_bytes()
    own.write_text("version: 1\n")
    result = imported(desktop)
    assert (result.exit_code, "config_exists" in result.output) == (1, True)
    assert (own.read_text(), desktop.read_bytes()) == ("version: 1\n", before)


def test_an_invalid_host_file_is_told_with_its_place_and_left_alone(desktop: Path) -> None:
    desktop.write_text('{"mcpServers": {} 1}')
    result = imported(desktop)
    assert (result.exit_code, ":1:19: is not valid JSON" in result.output) == (1, True), result.output
    assert desktop.read_text() == '{"mcpServers": {} 1}'
    assert not (desktop.parent / "gateway.yaml").exists()


def test_a_host_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert toolgate("init", "--host-file", tmp_path / "none.json", "--yes").exit_code == 2


def test_with_nobody_to_ask_it_does_nothing_and_says_how(desktop: Path) -> None:
    before = desktop.read_bytes()
    result = toolgate("init", "--no-pin", "--config", desktop.parent / "gateway.yaml", "--host-file", desktop)
    assert (result.exit_code, "--yes" in result.output) == (2, True)
    assert desktop.read_bytes() == before


def test_a_no_changes_nothing(desktop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = desktop.read_bytes()
    setup = Setup(desktop.parent / "gateway.yaml", SystemClock(), ask=lambda question: False)
    host = Host("claude-desktop", "Claude Desktop", desktop)
    setup.put_in([host])
    assert "Nothing was changed" in capsys.readouterr().out
    assert desktop.read_bytes() == before
    setup.put_in([])
    assert list(desktop.parent.iterdir()) == [desktop]


def test_undo_with_a_no_changes_nothing(desktop: Path) -> None:
    imported(desktop)
    after = desktop.read_bytes()
    Setup(desktop.parent / "gateway.yaml", SystemClock(), ask=lambda question: False).take_out(
        [Host("claude-desktop", "Claude Desktop", desktop)]
    )
    assert desktop.read_bytes() == after


def test_schemas_are_pinned_where_a_way_is_given(desktop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pinned: list[Path] = []

    def pin(config: Path) -> int:
        pinned.append(config)
        return 37

    config = desktop.parent / "gateway.yaml"
    Setup(config, SystemClock(), ask=lambda question: True, pin=pin).put_in([Host("h", "Host", desktop)])
    assert pinned == [config]
    assert "pinned 37 tool schemas" in capsys.readouterr().out


def test_a_server_that_does_not_answer_is_named(desktop: Path) -> None:
    desktop.write_text(json.dumps({"mcpServers": {"gone": {"command": "no-such-program-here"}}}))
    result = toolgate("init", "--config", desktop.parent / "gateway.yaml", "--host-file", desktop, "--yes")
    assert (result.exit_code, "pinned 0 tool schemas" in result.output) == (0, True)
    assert "gone does not answer, so none of its tools is pinned yet" in result.stderr


def test_without_servers_an_empty_configuration_is_written(tmp_path: Path) -> None:
    host = tmp_path / ".cursor/mcp.json"
    host.parent.mkdir()
    host.write_text("{}")
    result = toolgate("init", "--no-pin", "--config", tmp_path / "new/gateway.yaml", "--host-file", host, "--yes")
    assert result.exit_code == 0, result.output
    assert toolgate("config", "validate", "--config", tmp_path / "new/gateway.yaml").exit_code == 0


def test_servers_that_cannot_be_imported_are_an_error(tmp_path: Path) -> None:
    host = tmp_path / ".mcp.json"
    host.write_text('{"mcpServers": {"old": {"type": "websocket", "url": "https://x"}}}')
    result = toolgate("init", "--no-pin", "--config", tmp_path / "gateway.yaml", "--host-file", host, "--yes")
    assert (result.exit_code, "nothing_to_import" in result.output) == (1, True)


def test_a_server_that_stays_with_the_host_is_still_there(desktop: Path) -> None:
    desktop.write_text(json.dumps({"mcpServers": {**SERVERS, "old": {"type": "websocket", "url": "https://x"}}}))
    result = imported(desktop)
    assert "old stays as it is" in result.output
    assert list(json.loads(desktop.read_text())["mcpServers"]) == ["toolgate", "old"]


@pytest.mark.parametrize(("answer", "changed"), [(b"y\n", True), (b"n\n", False)])
def test_a_person_at_a_terminal_is_asked(desktop: Path, answer: bytes, *, changed: bool) -> None:
    before = desktop.read_bytes()
    person, terminal = pty.openpty()
    command = [sys.executable, "-m", "gateway", "init", "--no-pin", "--config", str(desktop.parent / "gateway.yaml")]
    with subprocess.Popen([*command, "--host-file", str(desktop)], stdin=terminal, stdout=subprocess.PIPE) as process:
        os.write(person, answer)
        said, _ = process.communicate(timeout=60)
    os.close(person)
    os.close(terminal)
    assert b"Import 2 servers behind the gateway? [Y/n]" in said
    assert (desktop.read_bytes() != before) is changed


def test_the_hosts_of_this_user_are_found(desktop: Path) -> None:
    config = desktop.parent / ".config/Claude/claude_desktop_config.json"
    config.parent.mkdir(parents=True)
    desktop.rename(config)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "init", "--no-pin", "--yes"],
        env={k: v for k, v in os.environ.items() if k.startswith("COV")}
        | {"HOME": str(desktop.parent), "PATH": "/usr/bin:/bin"},
        cwd=desktop.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Claude Desktop now starts 1 server: toolgate" in done.stdout
    assert (desktop.parent / "gateway.yaml").exists()


def test_a_folder_without_hosts_gets_an_empty_configuration_that_serves(tmp_path: Path) -> None:
    Setup(tmp_path / "gateway.yaml", SystemClock(), ask=lambda question: True).put_in([])
    assert toolgate("doctor", "--offline", "--config", tmp_path / "gateway.yaml").exit_code == 0


def test_nothing_to_undo_is_said(desktop: Path) -> None:
    assert "Nothing to undo" in toolgate("init", "--undo", "--host-file", desktop).output


def test_undo_without_a_backup_is_refused(desktop: Path) -> None:
    imported(desktop)
    for path in desktop.parent.glob("*.json.*"):
        path.unlink()
    with pytest.raises(HostFileError, match="no backup"):
        Setup(desktop.parent / "g", SystemClock(), ask=lambda question: True).take_out([Host("h", "H", desktop)])
    assert "toolgate" in read_host(Host("h", "H", desktop)).servers
