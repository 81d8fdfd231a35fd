"""`toolgate connector`: from a name to a package that passes its own tests, is installed, and is called."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gateway.cli import build
from tests.live.running import Running, environment

ROOT = Path(__file__).parents[2]


def toolgate(*arguments: str) -> Result:
    return CliRunner().invoke(build(), ["connector", *arguments])


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """`test FOLDER` imports what is there, as a program that then ends."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if "acme" in name or "other" in name:
            del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    made = toolgate("new", "acme-crm", "--into", str(tmp_path))
    assert made.exit_code == 0, made.output
    assert f"next: toolgate connector test {tmp_path / 'acme-crm'}" in made.output
    return tmp_path / "acme-crm"


def test_a_new_connector_is_small_and_keeps_the_contract_at_once(package: Path) -> None:
    lines = (package / "acme_crm.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 30
    checked = toolgate("test", str(package))
    assert checked.exit_code == 0, checked.output
    assert "✓ find keeps its output schema" in checked.output
    assert "✓ failures are told by their kind" in checked.output
    assert checked.output.endswith("keeps the contract\n")


def test_a_package_that_does_not_say_who_answers_for_it_fails_where_that_is_asked_for(package: Path) -> None:
    told = toolgate("test", str(package))
    assert "its package does not say: owner, runbook, changelog" in told.output
    refused = toolgate("test", str(package), "--complete")
    assert (refused.exit_code, "manifest" in refused.output, "maintainers" in refused.output) == (1, True, True)
    project = (package / "pyproject.toml").read_text()
    (package / "pyproject.toml").write_text(project.replace("# maintainers", "maintainers").replace("# urls", "urls"))
    complete = toolgate("test", str(package), "--complete", "--json")
    assert complete.exit_code == 0, complete.output
    assert json.loads(complete.output)["manifest"] == {
        "owner": "Acme Crm team <team@example.com>",
        "version": "0.1.0",
        "runbook": "https://example.com/runbook",
        "changelog": "https://example.com/changes",
    }


def test_a_new_connector_passes_its_own_tests_as_strictly_as_ours(package: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=package, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "acme_crm.py"]
    typed = subprocess.run(command, cwd=package, env=env, capture_output=True, text=True, check=False)
    assert typed.returncode == 0, typed.stdout
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--line-length=120", "."]
    assert subprocess.run(command, cwd=package, check=False).returncode == 0


SAYS = "Maintainer-email: CRM team <crm@example.com>\nProject-URL: Runbook, https://example.com/runbook\n"


def install(package: Path, place: Path) -> None:
    """Leave behind what an installer would."""
    project = tomllib.loads((package / "pyproject.toml").read_text())
    for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        (place / name).write_bytes((package / name).read_bytes())
    information = place / "acme_crm-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-crm\nVersion: 0.1.0\n" + SAYS)
    points = project["project"]["entry-points"]
    lines = [
        line for group, each in points.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in each.items()))
    ]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_an_installed_connector_is_listed_tested_by_name_and_called(package: Path, tmp_path: Path) -> None:
    place, home = tmp_path / "site", tmp_path / "home"
    place.mkdir()
    home.mkdir()
    install(package, place)
    env = environment(CRM_KEY="a-key-for-tests-only", PYTHONPATH=f"{place}{os.pathsep}{ROOT}")

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "gateway", "connector", *words]
        return subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, check=True).stdout

    listed = {each["connector"]: each for each in json.loads(run("list", "--json"))["connectors"]}
    assert listed["acme_crm"] == {
        "connector": "acme_crm",
        "package": "acme-crm",
        "owner": "CRM team <crm@example.com>",
        "version": "0.1.0",
        "runbook": "https://example.com/runbook",
        "changelog": "",
        "tools": ["add", "find"],
        "error": "",
    }
    tested = json.loads(run("test", "acme_crm", "--json"))
    assert (tested["ok"], tested["missing"]) == (True, ["changelog"])
    double = [sys.executable, "-c", DOUBLE]
    with subprocess.Popen(double, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other_side:
        assert other_side.stdout is not None
        url = other_side.stdout.readline().strip()
        (home / "gateway.yaml").write_text(
            f"""version: 1
server: {{ listen: "127.0.0.1:0" }}
mcpServers:
  crm: {{ connector: acme_crm, base_url: "{url}", api_key: "${{env:CRM_KEY}}" }}
agents: {{ assistant: {{ allow: ["crm.*"] }} }}
"""
        )
        assert run("test", "crm").endswith("crm: keeps the contract\n")
        gateway = Running(home, env=env).start()
        try:
            contact = {"email": "ann@example.com", "name": "Ann"}
            assert gateway.call(gateway.token("assistant"), "crm_add", contact)["structuredContent"] == contact
        finally:
            gateway.stop()
            other_side.communicate("stop\n")


DOUBLE = """
import asyncio, sys
from acme_crm_double import double

async def main():
    async with double() as (settings, sample):
        print(settings["base_url"], flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["Acme", "acme_crm", "-a", "a--b", "../a", "email", "gateway", "a" * 41, "1a", ""])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    made = toolgate("new", "--into", str(tmp_path), "--", name)
    assert made.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_written_over(package: Path) -> None:
    again = toolgate("new", "acme-crm", "--into", str(package.parent), "--json")
    assert (again.exit_code, json.loads(again.output)["error"]) == (1, "exists")
    (package.parent / "file").touch()
    nowhere = toolgate("new", "acme-crm", "--into", str(package.parent / "file"))
    assert (nowhere.exit_code, "cannot be written" in nowhere.output) == (1, True)


def test_a_program_is_told_what_was_made(tmp_path: Path) -> None:
    made = json.loads(toolgate("new", "other-one", "--into", str(tmp_path), "--json").output)
    assert made["folder"] == str(tmp_path / "other-one")
    assert "other_one.py" in made["files"]


SHOWING = """class AcmeCrmConfig(toolgate.ConnectorConfig):
    def __repr__(self) -> str:
        return self.api_key.reveal()
"""


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("return reply.json()", "return 7"), "contract_broken", "acme_crm failed"),
        (("class AcmeCrmConfig(toolgate.ConnectorConfig):", SHOWING), "contract_broken", "a secret shows"),
        (('name = "acme_crm"', 'name = "other"'), "connector", "must set name"),
        (("from typing import Any", "import nowhere_at_all"), "connector", "cannot be loaded"),
        (("    base_url: str", "    base_url: str\n    more: int"), "settings", "more: Field required"),
        (("_double:double", "_double:nothing"), "connector", "cannot be loaded"),
        (('"gateway.connectors"', '"gateway.else"'), "connector", "declares no connector"),
        (("[project]", "[project"), "connector", "does not describe a package"),
    ],
)
def test_what_is_wrong_with_a_connector_is_said(package: Path, change: tuple[str, str], code: str, said: str) -> None:
    (path,) = (p for p in (package / "acme_crm.py", package / "pyproject.toml") if change[0] in p.read_text())
    path.write_text(path.read_text().replace(*change))
    checked = toolgate("test", str(package), "--json")
    assert checked.exit_code == 1
    told = json.loads(checked.output)
    assert (told["error"], said in told["message"]) == (code, True), told
    assert "a-key-for-tests-only" not in checked.output


def test_settings_of_ones_own_are_used_instead_of_the_double(package: Path) -> None:
    settings = ["--set", "base_url=http://127.0.0.1:1", "--set", "api_key=another-key-for-tests"]
    checked = toolgate("test", str(package), *settings, "--json")
    told: Any = json.loads(checked.output)
    assert told["ok"]
    assert not any("output schema" in promise for promise in told["held"])
    assert toolgate("test", str(package), "--set", "base_url").exit_code == 1


def test_a_connector_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    checked = toolgate("test", "sql", "--set", f"url=sqlite:///{tmp_path}/missing.db")
    assert checked.exit_code == 1
    assert "unavailable: sql: The database file cannot be read. (unable to open database file)" in checked.output


def test_a_name_that_means_nothing_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    for text in ("", "version: 1\nmcpServers: { other: { command: sh } }\n", "version: 1\n}"):
        if text:
            config.write_text(text)
        checked = toolgate("test", "nothing", "--config", str(config))
        assert checked.exit_code == 1
        assert "connector: " in checked.output


def test_our_own_connectors_are_listed() -> None:
    listed = toolgate("list")
    assert listed.exit_code == 0
    first = {line.split()[0] for line in listed.output.splitlines()}
    assert {"CONNECTOR", "email", "http", "mcp", "openapi", "sql", "webhook"} <= first
