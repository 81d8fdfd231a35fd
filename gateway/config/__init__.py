"""One file, `gateway.yaml`, read strictly: every mistake is named with its line, its column and its remedy."""

from gateway.config.checking import Resolver
from gateway.config.loading import Connectors, load, load_place, schema, show
from gateway.config.model import GatewayConfig, ServerSection
from gateway.config.problem import ConfigError
from gateway.config.watching import Snapshot, snapshot, watch

__all__ = [
    "ConfigError",
    "Connectors",
    "GatewayConfig",
    "Resolver",
    "ServerSection",
    "Snapshot",
    "load",
    "load_place",
    "schema",
    "show",
    "snapshot",
    "watch",
]
