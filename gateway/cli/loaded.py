"""The configuration as commands use it: loaded, its references resolved, its secrets known."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config import ConfigError, GatewayConfig, Resolver, Snapshot, load, load_place, snapshot
from gateway.config.written import written_secrets
from gateway.connector.registry import load_connectors
from gateway.credentials.references import resolve
from gateway.credentials.secrets import SecretStore

__all__ = ["Loaded", "load_config", "load_now", "load_whereabouts", "resolver_for"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, where it came from, and the secret values in it (to be kept out of every output).

    `seen` is how its file, and that of the secrets, were before they were read.
    """

    path: Path
    config: GatewayConfig = field(repr=False)
    secrets: frozenset[str] = field(repr=False)
    seen: Snapshot = field(default_factory=dict, repr=False)

    def again(self) -> "Loaded":
        """Return the configuration as the file has it now. Raises `ConfigError`."""
        return load_now(self.path)


def resolver_for(path: Path, used: set[str]) -> Resolver:
    """Return what replaces references for the configuration at `path`; each secret it puts in is added to `used`."""
    secrets = SecretStore(path.parent / ".toolgate", os.environ)

    def replace(text: str) -> str:
        value, kept_secret = resolve(text, os.environ, secrets)
        used.update(kept_secret)
        return value

    return replace


def load_now(path: Path) -> Loaded:
    """Return the configuration at `path`. Raises `ConfigError`."""
    path = path.expanduser().absolute()
    seen = snapshot([path, path.parent / ".toolgate" / "secrets.enc"])
    used: set[str] = set()
    config = load(path, resolver_for(path, used), load_connectors())
    return Loaded(path, config, frozenset(used) | written_secrets(config.mcpServers), seen)


def load_config(path: Path, *, as_json: bool = False) -> Loaded:
    """Return the configuration at `path`, or say everything that is wrong with it and exit with 1."""
    try:
        return load_now(path)
    except ConfigError as error:
        from gateway.cli.output import fail_with_problems  # typer, which a gateway that serves does without

        fail_with_problems(error, as_json=as_json)


def load_whereabouts(path: Path, *, as_json: bool = False) -> Loaded:
    """Return the configuration at `path`; where it does not load here, what it says of where the gateway keeps what.

    A shell that lacks a variable of the gateway's, or a file that is being edited, keeps nobody from looking at the
    record, and from stopping what goes on. What is wrong is said all the same.
    """
    try:
        return load_now(path)
    except ConfigError as error:
        from gateway.cli.output import warn  # as above

        path = path.expanduser().absolute()
        try:
            config = load_place(path)
        except ConfigError:
            return load_config(path, as_json=as_json)
        first = error.problems[0]
        warn(f"{first.place}: {first.code}: {first.message}", "gone by are its server, identity and ledger alone")
        return Loaded(path, config, frozenset())
