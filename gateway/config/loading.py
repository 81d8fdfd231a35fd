"""From a file to a `GatewayConfig`, and back to something a person may look at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gateway.config.checking import Resolver, check, explain, resolved
from gateway.config.document import Document, Trail, read
from gateway.config.model import GatewayConfig
from gateway.config.problem import ConfigError
from gateway.config.written import written_secrets
from gateway.connector.about import About
from gateway.connector.plugin import Connector
from gateway.connector.registry import ABOUT, STANDING, settings_of
from gateway.facts.own_tools import FACTS_SERVER
from gateway.model.problem import Problem
from gateway.policy.config import StandingSection
from gateway.workflow.own_tools import OWN_SERVER

__all__ = ["Connectors", "load", "load_place", "schema", "show"]

Connectors = Mapping[str, type[Connector[Any]]]
"""The installed connectors by name (gateway.connector.registry.load_connectors)."""

_SERVERS: Final = "mcpServers"
_REFERRING: Final[tuple[Trail, ...]] = (
    ("approvals", "webhook"),
    ("identity", "logins"),
    ("events",),
    ("metrics",),
    ("traces",),
)
"""What of the gateway's own sections may hold references."""

_PLACE: Final = ("version", "server", "identity", "ledger")
"""The sections that say where the store, its key and its anchor are."""

_MASK: Final = "***"
_MAY_BE_SECRET: Final = frozenset({"env", "headers", "auth"})


def load(path: Path, resolve: Resolver, connectors: Connectors | None = None) -> GatewayConfig:
    """Read, check and return a configuration; references are replaced in `mcpServers`, and where secrets belong.

    With `connectors`, each server's section is also checked against the connector that will read it.

    Raises:
        ConfigError: with every problem that was found, each at its line and column.
    """
    return _load(read(path), resolve, connectors)


def load_place(path: Path) -> GatewayConfig:
    """Return what a configuration says of where the gateway keeps what, whatever else is wrong with it.

    References are left as they are written: none has a part in that.

    Raises:
        ConfigError: the file is no YAML, or one of these very sections is wrong.
    """
    document = read(path)
    written = document.data if isinstance(document.data, dict) else {}
    return check(replace(document, data={key: written[key] for key in _PLACE if key in written}), GatewayConfig)


def _load(document: Document, resolve: Resolver, connectors: Connectors | None) -> GatewayConfig:
    for within in _REFERRING:
        document = resolved(document, within, resolve)
    check(document, GatewayConfig)
    document = resolved(document, (_SERVERS,), resolve)
    config = check(document, GatewayConfig)
    problems = [
        *_endpoint_problems(document, config),
        *_standing_problems(document, config),
        *_login_problems(document, config),
    ]
    for name, section in config.mcpServers.items() if connectors is not None else ():
        problems += _server_problems(document, name, section, connectors or {})
    if problems:
        raise ConfigError(problems)
    return config


def _endpoint_problems(document: Document, config: GatewayConfig) -> Iterator[Problem]:
    """Yield what endpoints name that is configured nowhere: it would show nothing, or be there for nobody."""
    known = {
        "servers": {*config.mcpServers, OWN_SERVER, FACTS_SERVER},
        "agents": config.agents.keys(),
        "teams": {team for agent in config.agents.values() for team in agent.teams},
    }
    for endpoint, section in config.endpoints.items():
        for kind, names in known.items():
            for number, name in enumerate(getattr(section, kind)):
                if name not in names:
                    from difflib import get_close_matches  # as in the catalog

                    near = get_close_matches(name, names, n=1)
                    message = f"no {kind.removesuffix('s')} is called `{name}`"
                    fix = f"did you mean `{near[0]}`?" if near else ""
                    yield document.problem(("endpoints", endpoint, kind, number), "wrong_value", message, fix)


def _login_problems(document: Document, config: GatewayConfig) -> Iterator[Problem]:
    """Yield the logins of issuers that vouch for nobody: whom an agent acts for is known from its JWT alone."""
    issuers = sorted({agent.auth.jwt.issuer for agent in config.agents.values() if agent.auth.jwt is not None})
    for number, login in enumerate(config.identity.logins):
        if login.issuer not in issuers:
            message = f"no agent has JWTs of the issuer `{login.issuer}`"
            fix = f"there: {', '.join(issuers)}" if issuers else "name it under an agent's `auth: { jwt: … }`"
            yield document.problem(("identity", "logins", number, "issuer"), "wrong_value", message, fix)


def _standing_problems(document: Document, config: GatewayConfig) -> Iterator[Problem]:
    for name, section in config.mcpServers.items():
        try:
            StandingSection.model_validate({key: section[key] for key in STANDING if key in section})
        except ValidationError as error:
            yield from explain(document, error, (_SERVERS, name))
        try:
            About.model_validate(section.get(ABOUT, {}))
        except ValidationError as error:
            yield from explain(document, error, (_SERVERS, name, ABOUT))


def _server_problems(
    document: Document, name: str, section: Mapping[str, Any], connectors: Connectors
) -> list[Problem]:
    trail: Trail = (_SERVERS, name)
    kind, settings = settings_of(section)
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
    found = sorted((each for each in written_secrets(written) if "${" not in each), key=len, reverse=True)
    shown[_SERVERS] = {name: _masked(section, found, whole=False) for name, section in written.items()}
    return shown


def _masked(node: Any, found: Sequence[str], *, whole: bool) -> Any:
    """Return what was written without the secrets `found` in it, and without any text at all where it is so `whole`."""
    if isinstance(node, dict):
        return {key: _masked(value, found, whole=whole or key in _MAY_BE_SECRET) for key, value in node.items()}
    if isinstance(node, list):
        return [_masked(value, found, whole=whole) for value in node]
    if not isinstance(node, str):
        return node
    if whole and "${" not in node:
        return _MASK
    return reduce(lambda text, secret: text.replace(secret, _MASK), found, node)
