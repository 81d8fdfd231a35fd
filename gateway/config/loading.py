"""From a file to a `GatewayConfig`, and back to something a person may look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gateway.config.checking import Resolver, check, explain, resolved
from gateway.config.document import Document, Trail, read
from gateway.config.model import GatewayConfig
from gateway.config.problem import ConfigError
from gateway.connector.plugin import Connector
from gateway.model.problem import Problem

__all__ = ["Connectors", "load", "schema", "show"]

Connectors = Mapping[str, type[Connector[Any]]]
"""The installed connectors by name (gateway.connector.registry.load_connectors)."""

_SERVERS: Final = "mcpServers"
_DEFAULT_CONNECTOR: Final = "mcp"
_MASK: Final = "***"
_MAY_BE_SECRET: Final = frozenset({"env", "headers", "auth"})


def load(path: Path, resolve: Resolver, connectors: Connectors | None = None) -> GatewayConfig:
    """Read, check and return a configuration; references are replaced in `mcpServers` only.

    With `connectors`, each server's section is also checked against the connector that will read it.

    Raises:
        ConfigError: with every problem that was found, each at its line and column.
    """
    return _load(read(path), resolve, connectors)


def _load(document: Document, resolve: Resolver, connectors: Connectors | None) -> GatewayConfig:
    check(document, GatewayConfig)
    document = resolved(document, (_SERVERS,), resolve)
    config = check(document, GatewayConfig)
    if connectors is not None:
        problems = [
            problem
            for name, section in config.mcpServers.items()
            for problem in _server_problems(document, name, section, connectors)
        ]
        if problems:
            raise ConfigError(problems)
    return config


def _server_problems(
    document: Document, name: str, section: Mapping[str, Any], connectors: Connectors
) -> list[Problem]:
    trail: Trail = (_SERVERS, name)
    settings = dict(section)
    kind = settings.pop("connector", _DEFAULT_CONNECTOR)
    connector = connectors.get(kind) if isinstance(kind, str) else None
    if connector is None:
        installed = ", ".join(sorted(connectors)) or "none"
        message = f"no connector `{kind}` is installed"
        return [document.problem((*trail, "connector"), "wrong_value", message, f"installed: {installed}")]
    try:
        connector.configure(settings, None)
    except ValidationError as error:
        return explain(document, error, trail)
    return []


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **GatewayConfig.model_json_schema()}


def show(path: Path, resolve: Resolver) -> dict[str, Any]:
    """Return the configuration as it takes effect, defaults filled in; references as written, other secrets masked.

    Raises:
        ConfigError: as `load`.
    """
    document = read(path)
    config = _load(document, resolve, None)
    shown = config.model_dump(mode="json", exclude_none=True)
    written = (document.data or {}).get(_SERVERS) or {}
    shown[_SERVERS] = {name: _masked(section, secret=False) for name, section in written.items()}
    return shown


def _masked(node: Any, *, secret: bool) -> Any:
    if isinstance(node, dict):
        return {key: _masked(value, secret=secret or key in _MAY_BE_SECRET) for key, value in node.items()}
    if isinstance(node, list):
        return [_masked(value, secret=secret) for value in node]
    return _MASK if secret and isinstance(node, str) and "${" not in node else node
