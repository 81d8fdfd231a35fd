"""Who may speak to which library; the layers themselves are import-linter contracts in pyproject.toml."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shape.source import ROOT, python_files, relative, tree

ALLOWED: dict[str, tuple[str, ...]] = {
    "mcp": ("gateway/transport/", "connectors/"),
    "mcp_types": ("gateway/transport/", "connectors/"),
    "starlette": ("gateway/transport/", "gateway/app/"),
    "uvicorn": ("gateway/transport/", "gateway/app/"),
    "typer": ("gateway/cli/",),
    "rich": ("gateway/cli/",),
    "yaml": ("gateway/config/", "gateway/cli/config.py", "gateway/policy/cases.py", "connectors/openapi/"),
}
ONE_MODULE = ("cedarpy", "aiosqlite", "asyncpg", "rfc8785")


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _users(library: str) -> list[str]:
    return [
        relative(path)
        for path in python_files("gateway", "connectors")
        if any(name.split(".")[0] == library for name in _imported(path))
    ]


@pytest.mark.parametrize("library", sorted(ALLOWED))
def test_a_library_is_spoken_to_only_where_it_belongs(library: str) -> None:
    assert [user for user in _users(library) if not user.startswith(ALLOWED[library])] == []


@pytest.mark.parametrize("library", ONE_MODULE)
def test_a_replaceable_library_is_wrapped_in_one_module(library: str) -> None:
    assert len(_users(library)) <= 1, _users(library)


def test_the_bridge_needs_nothing_but_the_standard_library() -> None:
    strangers = [
        f"{relative(path)}: {name}"
        for path in [*python_files("gateway")]
        if relative(path).startswith("gateway/bridge/")
        for name in _imported(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not f"{name}.".startswith("gateway.bridge.")
    ]
    assert strangers == []


def test_serving_begins_without_what_few_gateways_need() -> None:
    """The SDK, general HTTP clients, PyJWT, typer and the pages would be half of what a start loads."""
    told = "import sys, gateway.cli.serving; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split()
    assert "gateway" in loaded
    libraries = "mcp mcp_types httpx2 httpcore2 jwt urllib.request starlette.routing html.entities typer difflib"
    ours = "transport.sides store.memory app.cassette policy.cases policy.lint"
    assert set(libraries.split()).isdisjoint(loaded)
    assert {f"gateway.{name}" for name in ours.split()}.isdisjoint(loaded)


def test_what_decides_knows_by_record_and_not_by_likeness() -> None:
    """Whether a check ran is in the ledger; no embedding, no search for what is similar, has a say in it."""
    needed = {"cedarpy", "google", "httpx2", "opentelemetry", "pydantic", "yaml"}
    concepts = ("approval", "budget", "facts", "loop", "pause", "policy", "taint", "workflow")
    libraries = {
        name.split(".")[0]
        for path in python_files("gateway")
        if path.relative_to(ROOT).parts[1] in concepts
        for name in _imported(path)
    }
    assert libraries - sys.stdlib_module_names - {"gateway"} == needed


def test_the_model_needs_nothing_but_the_standard_library() -> None:
    strangers = [
        f"{relative(path)}: {name}"
        for path in python_files("gateway")
        if relative(path).startswith("gateway/model/")
        for name in _imported(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not f"{name}.".startswith("gateway.model.")
    ]
    assert strangers == []


def test_only_the_composition_root_names_a_storage_adapter() -> None:
    adapters = ("gateway.store.sqlite", "gateway.store.memory", "gateway.store.postgres")
    named = [
        f"{relative(path)}: {name}"
        for path in python_files("gateway", "connectors")
        if not relative(path).startswith(("gateway/app/", "gateway/store/"))
        for name in _imported(path)
        if name.startswith(adapters)
    ]
    assert named == []
