"""The official suite: installing it, running it, reading what it found."""

import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.installing import node, npm_packages

__all__ = ["LEGACY", "MODERN", "ROOT", "Outcome", "Suite", "installed"]

ROOT = Path(__file__).parent.parent.parent
PACKAGE = Path(__file__).parent / "suite_package"
LEGACY = "2025-11-25"
MODERN = "2026-07-28"
SCENARIO_TIMEOUT_MS = 60_000
_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")
_RAISED = re.compile(r"^[ |]*([\w.]+(?:Error|Timeout): .*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the suite found in one scenario."""

    scenario: str
    passed: Mapping[str, int]
    """How often each check succeeded; a check counts by its id and name."""
    errors: tuple[str, ...]
    """The suite's own words about each check that failed."""
    warnings: tuple[str, ...]
    refused: tuple[str, ...] = ()
    """For what the gateway refused calls: the suite counts some answers as good whatever they say."""

    @property
    def ok(self) -> bool:
        """Whether the scenario passes as the suite counts it."""
        return not self.errors

    @property
    def checks(self) -> int:
        """How many checks succeeded."""
        return sum(self.passed.values())

    def lost(self, other: "Outcome") -> list[str]:
        """Return the checks that succeeded here more often than in `other`."""
        return sorted((Counter(self.passed) - Counter(other.passed)).elements())


@dataclass(frozen=True, slots=True)
class Suite:
    """The installed suite."""

    node: Path
    script: Path

    def server(self, url: str, version: str, scenario: str | None = None) -> dict[str, Outcome]:
        """Run the server scenarios of one version against `url`."""
        chosen = ["--scenario", scenario] if scenario else ["--suite", "all"]
        return self._run("server", "--url", url, "--spec-version", version, *chosen)

    def client(self, command: str, version: str, scenario: str) -> Outcome:
        """Run one client scenario; `command` gets the URL of the suite's server as its last argument."""
        found = self._run("client", "--command", command, "--spec-version", version, "--scenario", scenario)
        return found.get(scenario) or Outcome(scenario, {}, ("The suite did not run this scenario.",), ())

    def _run(self, *args: str) -> dict[str, Outcome]:
        with tempfile.TemporaryDirectory(prefix="toolgate-conformance-") as folder:
            options = ["--timeout", str(SCENARIO_TIMEOUT_MS), "--output-dir", folder]
            done = subprocess.run(
                [self.node, self.script, *args, *options],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=False,
                timeout=1800,
            )
            read = _client_outcome if args[0] == "client" else _server_outcome
            outcomes = [read(entry, done) for entry in sorted(Path(folder).iterdir()) if entry.is_dir()]
        if not outcomes:
            raise RuntimeError(f"the suite ran nothing:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return {outcome.scenario: outcome for outcome in outcomes}


def _server_outcome(folder: Path, _: subprocess.CompletedProcess[str]) -> Outcome:
    return _outcome(folder, _STAMP.sub("", folder.name).removeprefix("server-"))


def _client_outcome(folder: Path, done: subprocess.CompletedProcess[str]) -> Outcome:
    """Read a client scenario, which also fails when the client does, or when a check only warns."""
    outcome = _outcome(folder, _STAMP.sub("", folder.name))
    if not done.returncode:
        return outcome
    client = [line.strip() for line in done.stderr.splitlines() if "CLIENT" in line]
    raised = _RAISED.findall((folder / "stderr.txt").read_text(encoding="utf-8"))
    return replace(outcome, errors=(*outcome.errors, *outcome.warnings, *client, *raised[-1:]))


def _outcome(folder: Path, scenario: str) -> Outcome:
    results = folder / "checks.json"
    if not results.exists():
        return Outcome(scenario, {}, ("The suite gave up on this scenario.",), ())
    text = results.read_text(encoding="utf-8")
    checks = json.loads(text)
    passed = Counter(f"{check['id']} {check['name']}" for check in checks if check["status"] == "SUCCESS")
    refused = tuple(dict.fromkeys(_refusals(checks)))
    return Outcome(scenario, dict(passed), _sentences(checks, "FAILURE"), _sentences(checks, "WARNING"), refused)


def _sentences(checks: Iterable[Mapping[str, Any]], status: str) -> tuple[str, ...]:
    return tuple(
        f"{check['id']}: {check.get('errorMessage') or check.get('description', '')}"
        for check in checks
        if check["status"] == status
    )


def _refusals(value: Any) -> Iterator[str]:
    """Find refusals of the gateway in what the suite noted: some scenarios are content with any answer."""
    if isinstance(value, Mapping):
        found = value.get("io.toolgate/refusal")
        if isinstance(found, Mapping):
            yield str(found.get("code"))
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for part in inner:
        yield from _refusals(part)


def installed() -> Suite:
    """Install node and the suite on first use, or when their versions changed; kept in `.conformance/`."""
    modules = npm_packages("suite", PACKAGE)
    return Suite(node(), modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js")
