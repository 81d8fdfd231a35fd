"""Opens what the configuration names: the store, and the connection to every server."""

import fcntl
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.catalog.catalog import Live
from gateway.config.model import OWN_SERVERS, GatewayConfig
from gateway.connector import Receiver, Surroundings
from gateway.connector.pool import PoolPace, Upstreams
from gateway.connector.registry import build_upstream, load_connectors
from gateway.credentials.keeper import Keeper
from gateway.home import Home
from gateway.identity.local import load_local_key
from gateway.ledger.heads import Heads
from gateway.ledger.signing import SigningKey
from gateway.model.clock import Clock, SystemClock
from gateway.model.errors import StoreFault
from gateway.pipeline.passports import Issuer
from gateway.pipeline.survey import Survey
from gateway.policy import Trial
from gateway.redaction.redactor import Redactor
from gateway.store.ports import Store
from gateway.store.sqlite import SqliteStore, is_behind

__all__ = [
    "check_is_abreast",
    "connect",
    "issuer_of",
    "live_definitions",
    "open_heads",
    "open_store",
    "policy_trial",
    "store_file",
]

_ASK_S: Final = 20.0
_UP_LOCK: Final = ".toolgate/up.lock"
"""What a gateway holds while it is up."""


def open_store(config: GatewayConfig, home: Home, clock: Clock) -> Store:
    """Return the configured store, not yet open: `sqlite:///path` relative to the home folder, or `memory:`.

    Raises:
        PrivateFileError: the gateway's own key, with which it knows what it wrote itself, cannot be used.
    """
    path = store_file(config, home)
    if path is None:
        from gateway.store.memory import MemoryStore  # which a gateway that keeps anything never needs

        return MemoryStore(clock)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteStore(path, clock, key=load_local_key(home.path / config.identity.local_key))


def store_file(config: GatewayConfig, home: Home) -> Path | None:
    """Return where the configured store keeps everything; None where it is kept in memory."""
    url = config.server.store
    return None if url == "memory:" else home.path / url.removeprefix("sqlite:///")


def check_is_abreast(config: GatewayConfig, home: Home) -> None:
    """See to it that no gateway of an earlier version is at work on the store: what it wrote then, no event would tell.

    Raises:
        StoreFault: there is one.
    """
    path, lock = store_file(config, home), home.path / _UP_LOCK
    if path is None or not lock.exists() or not is_behind(path):
        return
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = "A gateway of an earlier version is up on this ledger: restart it with this one, then repeat this."
            raise StoreFault(text) from None


def open_heads(config: GatewayConfig, home: Home, store: Store, clock: Clock) -> Heads | None:
    """Return what signs the heads of the configured store; None where nothing is kept.

    The anchor in the private folder is named for the store as it is configured, so that each has its own.

    Raises:
        PrivateFileError: the signing key cannot be used.
    """
    url, named = config.server.store, config.ledger.anchor
    if url == "memory:":
        return None
    name = f"ledger-{hashlib.sha256(url.encode()).hexdigest()[:12]}.anchor"
    anchor = home.private / name if named is None else home.path / named
    return Heads(store, SigningKey.load(home.private), anchor, clock)


def issuer_of(config: GatewayConfig, key: SigningKey) -> Issuer:
    """Return under which name the gateway signs passports: its public URL, else what its key is known by."""
    name = config.server.public_url or f"toolgate:{key.kid}"
    return Issuer(key, name, OWN_SERVERS, config.identity.trust_domain)


def policy_trial(home: Home) -> Trial:
    """Return what tries policy texts, with the memory of what was good."""
    return Trial(home.private / "policies.good")


async def live_definitions(
    config: GatewayConfig, home: Home, secrets: frozenset[str]
) -> tuple[Mapping[str, Live], Mapping[str, str]]:
    """Ask every configured server for its tools once; return the answers, and why the silent ones were silent."""
    redactor = Redactor(secrets)
    keeper = Keeper(home.private, SystemClock(), redactor.hold)
    surroundings = Surroundings(redact=redactor.text, folder=home.path, credential=keeper.credential)
    upstreams = Upstreams(surroundings, PoolPace(open_s=_ASK_S, list_s=_ASK_S))
    survey = Survey(surroundings.clock, lambda live: None, deliver=redactor.deliver)
    connect(config, upstreams, survey, surroundings)
    try:
        await upstreams.open()
        health = upstreams.health()
        silent = {name: each.error for name, each in health.items() if name not in survey.live}
        return survey.live, silent
    finally:
        await upstreams.close()
        await keeper.close()


def connect(
    config: GatewayConfig, upstreams: Upstreams, survey: Survey, surroundings: Surroundings
) -> Mapping[str, Receiver]:
    """Add every configured server, not yet open; return those that take messages. Raises `ConnectorLoadError`."""
    registry = load_connectors()
    receivers = {}
    for name, section in config.mcpServers.items():
        upstream = build_upstream(name, section, registry, surroundings)
        upstreams.add(name, survey.over(name, upstream))
        if isinstance(upstream, Receiver):
            receivers[name] = upstream
    return receivers
