"""The command line: what each command says, and how it exits."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import __version__
from gateway.cli import COMMANDS, build
from gateway.cli.doctor import Check, examine
from gateway.cli.loaded import load_config
from gateway.cli.output import Refused, emit, emit_json, fail_with, plain, say, table
from gateway.config import GatewayConfig


def toolgate(*arguments: str | Path) -> Any:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text("version: 1\nmcpServers: {a: {command: sh, env: {KEY: literal}}}\n")
    return path


def test_it_says_its_version() -> None:
    assert toolgate("--version").output == f"toolgate {__version__}\n"


def test_help_lists_every_command_with_what_it_does() -> None:
    result = toolgate("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("config", "nonsense"), ("config", "validate", "--nonsense"), ("stdio",)]
)
def test_what_is_not_a_command_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert toolgate(*arguments).exit_code == 2


def test_the_installed_program_runs(config: Path) -> None:
    arguments = [sys.executable, "-m", "gateway", "config", "validate", "--config", str(config)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{config}: ok (1 server, 0 agents, 0 workflows)\n")


def test_what_a_command_loaded_is_not_taken_apart_when_it_ends() -> None:
    """A third of its CPU time went into that."""
    told = "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count() > 9999, gc.get_threshold()[0]))"
    run = f"{told}; sys.argv = ['toolgate', '--version']; from gateway.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert done.stdout == f"toolgate {__version__}\nTrue 100000\n"


def test_a_valid_configuration_is_said_to_be(config: Path) -> None:
    assert json.loads(toolgate("config", "validate", "--config", config, "--json").output) == {
        "ok": True,
        "servers": 1,
        "agents": 0,
        "workflows": 0,
    }


def test_an_invalid_configuration_is_told_by_line_and_column(config: Path) -> None:
    config.write_text("version: 1\nagnets: {}\n")
    result = toolgate("config", "validate", "--config", config)
    assert result.exit_code == 1
    assert f"{config}:2:1: unknown_key" in result.output
    assert "did you mean `agents`?" in result.output
    problems = json.loads(toolgate("config", "validate", "--config", config, "--json").output)["problems"]
    assert (problems[0]["line"], problems[0]["column"], problems[0]["code"]) == (2, 1, "unknown_key")


def test_a_configuration_that_is_not_there_names_init(tmp_path: Path) -> None:
    result = toolgate("config", "show", "--config", tmp_path / "none.yaml")
    assert (result.exit_code, "toolgate init" in result.output) == (1, True)


def test_a_missing_secret_names_the_command_that_sets_it(config: Path) -> None:
    config.write_text("version: 1\nmcpServers:\n  a: {command: sh, env: {KEY: '${secret:nope}'}}\n")
    result = toolgate("config", "validate", "--config", config)
    assert result.exit_code == 1
    assert f"{config}:3:31: secret_missing" in result.output
    assert "toolgate secret set nope" in result.output


def test_what_is_shown_has_no_secret(config: Path) -> None:
    for arguments in (("--json",), ()):
        output = toolgate("config", "show", "--config", config, *arguments).output
        assert "literal" not in output
        assert "127.0.0.1:8750" in output


def test_the_schema_is_json() -> None:
    assert "mcpServers" in json.loads(toolgate("config", "schema").output)["properties"]


def test_doctor_is_content_with_what_is_right(config: Path) -> None:
    result = toolgate("doctor", "--offline", "--config", config)
    assert result.exit_code == 0, result.output
    assert "✓ configuration" in result.output
    assert "`sh` is installed" in result.output


def test_doctor_names_what_is_wrong_and_its_remedy(config: Path) -> None:
    private = config.parent / ".toolgate"
    private.mkdir(mode=0o755)
    (private / "local.key").write_bytes(b"k" * 64)
    (private / "local.key").chmod(0o644)
    config.write_text(
        "version: 1\nmcpServers: {a: {command: no-such-program}, b: {url: 'https://x.example'}}\npolicies: [./p]\n"
    )
    report = json.loads(toolgate("doctor", "--offline", "--config", config, "--json").output)
    wrong = {check["message"]: check["fix"] for check in report["checks"] if not check["ok"]}
    assert report["ok"] is False
    assert list(wrong.values()) == [
        f"chmod 700 {private}",
        f"chmod 600 {private / 'local.key'}",
        f"mkdir -p {config.parent / 'p'}",
        "",
    ]
    assert toolgate("doctor", "--offline", "--config", config).exit_code == 1


def test_doctor_puts_right_what_it_can(config: Path) -> None:
    private = config.parent / ".toolgate"
    private.mkdir(mode=0o755)
    assert toolgate("doctor", "--offline", "--config", config, "--fix").exit_code == 0
    assert private.stat().st_mode & 0o077 == 0
    assert "is for you only" in toolgate("doctor", "--offline", "--config", config).output


def test_doctor_tells_every_mistake_in_the_configuration(config: Path) -> None:
    config.write_text("version: 2\nagnets: {}\n")
    result = toolgate("doctor", "--offline", "--config", config)
    assert result.exit_code == 1
    assert ":1:10: wrong_value" in result.output
    assert "fix: did you mean `agents`?" in result.output


def test_a_program_on_the_users_path_only_is_a_warning_that_names_where_it_is(config: Path) -> None:
    program = config.parent / "bin/only-mine"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    config.write_text("version: 1\nmcpServers: {a: {command: only-mine}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "doctor", "--offline", "--config", str(config)],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "! server a" in done.stdout
    assert f"write command: {program}" in done.stdout


def test_policies_that_are_there_are_no_complaint(config: Path) -> None:
    (config.parent / "p").mkdir()
    config.write_text("version: 1\npolicies: [./p]\n")
    assert all(check.ok for check in examine(config, fix=False))


def test_a_configuration_loads_again_as_it_is_now(config: Path) -> None:
    loaded = load_config(config)
    config.write_text("version: 1\n")
    assert (len(loaded.config.mcpServers), loaded.again().config.mcpServers) == (1, {})


def test_doctor_asks_the_given_probe_last(config: Path) -> None:
    def probe(loaded: GatewayConfig, path: Path) -> Iterable[Check]:
        yield Check("handshake", ok=False, message=f"{len(loaded.mcpServers)} server at {path.name}")

    assert list(examine(config, fix=False, probe=probe))[-1].message == "1 server at gateway.yaml"


def test_text_of_others_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[31mb\u202ec")
    assert capsys.readouterr().out == "a\\u001b[31mb\\u202ec\n"
    assert plain("plain\ttext\n") == "plain\ttext\n"


def test_a_table_is_aligned_under_its_headings() -> None:
    assert table([{"name": "a", "age": "10"}, {"name": "longer", "age": "2"}]) == [
        "NAME    AGE",
        "a       10",
        "longer  2",
    ]
    assert table([]) == []


def test_data_is_printed_for_a_program_or_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": 1}, ["one"], as_json=True)
    emit({"a": 1}, ["one"], as_json=False)
    assert capsys.readouterr().out == '{\n  "a": 1\n}\none\n'


def test_data_for_a_program_cannot_steer_the_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"a": "\x9b31m\u202e\U000e0041\u2028 \u00e9\n\x1b"}
    for indent in (2, None):
        emit_json(data, indent=indent)
        shown = capsys.readouterr().out
        assert json.loads(shown) == data
        assert "\u00e9" in shown
        assert shown.replace("\u00e9", "e").isascii()
    assert shown.count("\n") == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_a_refusal_says_its_code_why_and_what_fixes_it(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fail_with(Refused("no_such", "there is none", "make one"), 3, as_json=as_json)
    said = capsys.readouterr()
    assert ended.value.code == 3
    assert all(part in said.out + said.err for part in ("no_such", "there is none", "make one"))
