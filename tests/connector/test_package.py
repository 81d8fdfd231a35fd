"""Packages of connectors: which there are, without importing any that is not asked for."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from gateway.connector.package import Packaged, in_folder, installed
from gateway.connector.registry import GROUP, ConnectorLoadError


def test_installed_connectors_say_which_package_they_came_in() -> None:
    found = installed()
    assert (found["mcp"].package, found["mcp"].name) == ("toolgate", "mcp")
    assert found["mcp"].load().name == "mcp"
    assert found["mcp"].double() is None


def test_a_package_that_cannot_be_imported_says_so_when_it_is_asked_for() -> None:
    broken = Packaged(EntryPoint("a", "nowhere_at_all:A", GROUP), "a")
    with pytest.raises(ConnectorLoadError, match="cannot be loaded"):
        broken.load()


def test_a_folder_without_a_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConnectorLoadError, match="does not describe a package"):
        in_folder(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.x]\n")
    with pytest.raises(ConnectorLoadError, match="does not describe a package"):
        in_folder(tmp_path)
