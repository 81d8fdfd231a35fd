"""Which connectors are installed, and how one becomes a live upstream."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from gateway.connector.credential import Sought
from gateway.connector.plugin import Connector, Surroundings
from gateway.connector.upstream import Upstream

__all__ = [
    "ABOUT",
    "GROUP",
    "STANDING",
    "ConnectorLoadError",
    "build_upstream",
    "fixed_in",
    "load_connectors",
    "settings_of",
    "sought_in",
]

GROUP: Final = "gateway.connectors"
STANDING: Final = ("trust", "quarantined")
"""What a section says of its server to the policies rather than to the connector."""

ABOUT: Final = "about"
"""What a section says of its server to people."""

_DEFAULT: Final = "mcp"


class ConnectorLoadError(Exception):
    """A connector package cannot be used; the text names it and says why."""


class _Installed(Mapping[str, type[Connector[Any]]]):
    """Connectors by name, each imported when it is first asked for: a start pays for none that is not configured."""

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        self._points: dict[str, EntryPoint] = {}
        self._loaded: dict[str, type[Connector[Any]]] = {}
        for point in points:
            if point.name in self._points:
                raise ConnectorLoadError(f"two installed packages give a connector called {point.name!r}: remove one")
            self._points[point.name] = point

    def __getitem__(self, name: str) -> type[Connector[Any]]:
        if name not in self._loaded:
            self._loaded[name] = _load(self._points[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._points

    def __iter__(self) -> Iterator[str]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)


def load_connectors(found: Iterable[EntryPoint] | None = None) -> Mapping[str, type[Connector[Any]]]:
    """Return every installed connector by name. `found` stands for the entry points of the group in a test.

    Asking for one raises `ConnectorLoadError` where importing it fails or its class is no `Connector`.

    Raises:
        ConnectorLoadError: two packages give the same name.
    """
    return _Installed(entry_points(group=GROUP) if found is None else found)


def _load(point: EntryPoint) -> type[Connector[Any]]:
    try:
        connector = point.load()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConnectorLoadError(f"connector {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    if not (isinstance(connector, type) and issubclass(connector, Connector)):
        raise ConnectorLoadError(f"connector {point.name!r} ({point.value}) is not a subclass of Connector")
    if getattr(connector, "name", None) != point.name:
        raise ConnectorLoadError(f"connector {point.name!r} ({point.value}) must set name = {point.name!r}")
    return connector


def settings_of(section: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the connector that a section of `mcpServers` names (or the default), and what that connector reads."""
    settings = {name: value for name, value in section.items() if name not in {*STANDING, ABOUT}}
    return settings.pop("connector", _DEFAULT), settings


def build_upstream(
    name: str,
    section: Mapping[str, Any],
    registry: Mapping[str, type[Connector[Any]]],
    surroundings: Surroundings | None = None,
    environ: Mapping[str, str] | None = None,
) -> Upstream:
    """Return the upstream that one `mcpServers` entry describes, not yet open.

    A section with `connector: NAME` is that plugin's own configuration; any other is an MCP server. Its references have
    been replaced, or `environ` is given to replace `${env:NAME}` in secrets.

    Raises:
        ConnectorLoadError: no such connector is installed.
        pydantic.ValidationError: a key is unknown or a value is wrong.
    """
    kind, settings = settings_of(section)
    connector = registry.get(kind)
    if connector is None:
        known = ", ".join(sorted(registry)) or "none"
        raise ConnectorLoadError(f"mcpServers.{name}: no connector {kind!r} is installed (installed: {known})")
    config = connector.configure(settings, environ)
    return connector.upstream(config, replace(surroundings or Surroundings(), server=name))


def fixed_in(section: Mapping[str, Any], registry: Mapping[str, type[Connector[Any]]]) -> Mapping[str, Any]:
    """Return what of a valid section counts from a start on: all but credentials that the gateway keeps by itself."""
    kind, settings = settings_of(section)
    connector = registry.get(kind)
    if connector is None or connector.sought(connector.configure(settings, None), "") is None:
        return {"connector": kind, **settings}
    auth = settings.get("auth")
    kept = {"headers": ..., "auth": auth.get("type") if isinstance(auth, Mapping) else auth}
    return {"connector": kind, **settings, **kept}


def sought_in(
    sections: Mapping[str, Mapping[str, Any]], registry: Mapping[str, type[Connector[Any]]]
) -> Iterator[Sought]:
    """Yield what valid sections, references replaced, say of credentials that the gateway keeps."""
    for name, section in sections.items():
        kind, settings = settings_of(section)
        sought = registry[kind].sought(registry[kind].configure(settings, None), name)
        if sought is not None:
            yield sought
