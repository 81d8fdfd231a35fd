"""What is run: the suite in one era, what stands behind the gateway, and with what the outcome is compared."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.conformance.everything.era import Era
from tests.conformance.gateway import gateway_for_the_suite
from tests.conformance.suite import LEGACY, MODERN, ROOT, Outcome, Suite

__all__ = ["COMBINATIONS", "Combination", "run_direct", "run_through"]

CLIENT = f"{sys.executable} -m tests.conformance.client"
LEGACY_CLIENTS = (
    "initialize",
    "tools_call",
    "elicitation-sep1034-client-defaults",
    "sse-retry",
    "json-schema-2020-12-preservation",
)
MODERN_CLIENTS = (
    "tools_call",
    "request-metadata",
    "sep-2322-client-request-state",
    "http-standard-headers",
    "http-custom-headers",
    "http-invalid-tool-headers",
    "json-schema-ref-no-deref",
    "json-schema-2020-12-preservation",
)


@dataclass(frozen=True, slots=True)
class Combination:
    """One row of the comparison."""

    name: str
    meaning: str
    version: str
    era: Era = "both"
    """Which era the reference server behind the gateway speaks."""
    clients: tuple[str, ...] = ()
    """The client scenarios; without any, the suite's server scenarios are run."""


COMBINATIONS = (
    Combination("legacy", "suite speaks 2025-11-25, server speaks both", LEGACY),
    Combination("modern", "suite speaks 2026-07-28, server speaks both", MODERN),
    Combination("legacy-on-modern", "suite speaks 2025-11-25, server only 2026-07-28", LEGACY, "modern"),
    Combination("modern-on-legacy", "suite speaks 2026-07-28, server only 2025-11-25", MODERN, "legacy"),
    Combination("legacy-clients", "client scenarios of 2025-11-25", LEGACY, clients=LEGACY_CLIENTS),
    Combination("modern-clients", "client scenarios of 2026-07-28", MODERN, clients=MODERN_CLIENTS),
)


@contextmanager
def _everything(era: Era) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.conformance.everything", "--era", era]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@contextmanager
def _everything_through_the_gateway(era: Era) -> Iterator[str]:
    with _everything(era) as behind, gateway_for_the_suite(behind) as url:
        yield url


def run_direct(suite: Suite, combination: Combination, scenario: str | None) -> dict[str, Outcome]:
    """Run it without a gateway; the server then speaks the suite's era whatever the combination says."""
    return _run(suite, combination, scenario, lambda: _everything("both"), CLIENT)


def run_through(suite: Suite, combination: Combination, scenario: str | None) -> dict[str, Outcome]:
    """Run it with the gateway in between."""
    return _run(
        suite, combination, scenario, lambda: _everything_through_the_gateway(combination.era), f"{CLIENT} --through"
    )


def _run(
    suite: Suite,
    combination: Combination,
    scenario: str | None,
    serving: Callable[[], AbstractContextManager[str]],
    command: str,
) -> dict[str, Outcome]:
    if combination.clients:
        chosen: Sequence[str] = [name for name in combination.clients if scenario in (None, name)]
        return {name: suite.client(command, combination.version, name) for name in chosen}
    with serving() as url:
        return suite.server(url, combination.version, scenario)
