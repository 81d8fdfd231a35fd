"""Packages of connectors: those that are installed, and one that is being written in a folder."""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from gateway.connector.about import Manifest
from gateway.connector.plugin import Connector
from gateway.connector.registry import GROUP, ConnectorLoadError, load_connectors
from gateway.connector.upstream import ToolCall

__all__ = ["DOUBLES", "Double", "Packaged", "in_folder", "installed"]

DOUBLES: Final = "gateway.connector_doubles"
"""The entry points of test doubles: the same name as the connector's, and something that makes a `Double`."""

Double = Callable[..., AbstractAsyncContextManager[tuple[Mapping[str, Any], ToolCall | None]]]
"""Runs the other side of a connector; gives the settings that lead there and a call that is safe to repeat.

It needs no arguments. One that takes a `status` answers every request with that HTTP status.
"""


@dataclass(frozen=True, slots=True)
class Packaged:
    """One connector and the package that it came in. Nothing of it is imported before it is asked for."""

    point: EntryPoint
    package: str
    double_point: EntryPoint | None = None
    manifest: Manifest = field(default_factory=Manifest)

    @property
    def name(self) -> str:
        """What `connector:` in a configuration calls it."""
        return self.point.name

    def load(self) -> type[Connector[Any]]:
        """Import it. Raises `ConnectorLoadError`."""
        return load_connectors([self.point])[self.point.name]

    def double(self) -> Double | None:
        """Import its test double, None where it has none. Raises `ConnectorLoadError`."""
        if self.double_point is None:
            return None
        try:
            made: Double = self.double_point.load()
        except (ImportError, AttributeError, SyntaxError) as error:
            raise ConnectorLoadError(f"the double of {self.name!r} cannot be loaded: {error}") from error
        return made


def installed() -> Mapping[str, Packaged]:
    """Return every installed connector by name. Of two with the same name the first counts; serving refuses both."""
    doubles = {point.name: point for point in entry_points(group=DOUBLES)}
    found: dict[str, Packaged] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        package = point.dist
        name, manifest = "", Manifest()
        if package is not None:
            name, manifest = package.name, Manifest.installed(package.metadata)
        found.setdefault(point.name, Packaged(point, name, doubles.get(point.name), manifest))
    return found


def in_folder(folder: Path) -> Mapping[str, Packaged]:
    """Return the connectors that the pyproject.toml in `folder` declares. Its modules must be importable.

    Raises:
        ConnectorLoadError: there is no such file, it cannot be read, or it declares none.
    """
    path = folder / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        points = {group: _points(group, values) for group, values in project.get("entry-points", {}).items()}
        manifest = Manifest.declared(project)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
        raise ConnectorLoadError(f"{path} does not describe a package: {error}") from error
    doubles = {point.name: point for point in points.get(DOUBLES, ())}
    name = str(project.get("name", ""))
    found = {point.name: Packaged(point, name, doubles.get(point.name), manifest) for point in points.get(GROUP, ())}
    if not found:
        raise ConnectorLoadError(f'{path} declares no connector: [project.entry-points."{GROUP}"] is missing')
    return found


def _points(group: str, values: Mapping[str, str]) -> Iterable[EntryPoint]:
    return [EntryPoint(name, value, group) for name, value in values.items()]
